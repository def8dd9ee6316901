/* Makes the n-th call on files of one directory fail, or cuts the power at it. For LD_PRELOAD; Linux with glibc.
 *
 * DITTO_FAULT_DIR    files below this directory are meant, all others are left alone
 * DITTO_FAULT_CALLS  letters of the calls that count: r(ead) w(rite) s(ync) t(runcate) o(pen)
 * DITTO_FAULT_AT     number of the call, from 1, at which the fault begins; 0 only counts
 * DITTO_FAULT_TIMES  for how many counted calls it lasts
 * DITTO_FAULT_KIND   eio, enospc: the call fails. short: half is read or written.
 *                    drop: the process ends and nothing that was not synced is on the disk. some: a part of it is.
 *                    tear: as drop, but of the writes the first half is on the disk.
 * DITTO_FAULT_REPORT file that receives "calls N fired F" at the end
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES 1024
#define POWER_CUT 77

static ssize_t (*real_pread)(int, void *, size_t, off64_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *paths[FILES]; /* of the descriptors that are meant */
static const char *directory, *counted, *kind, *report;
static long at, times, calls, fired;

/* What is not yet synced, newest first: the bytes that were there before. */
struct change {
  struct change *next;
  char *path;
  off64_t offset, old_size;
  size_t len;
  char *old;
  size_t old_len;
};
static struct change *changes;

static void finish(void) {
  int fd;
  char text[64];
  if (!report || (fd = real_open(report, O_WRONLY | O_CREAT | O_TRUNC, 0644)) < 0) return;
  int n = snprintf(text, sizeof text, "calls %ld fired %ld\n", calls, fired);
  if (real_write(fd, text, (size_t)n) < 0) {}
  real_close(fd);
}

__attribute__((constructor)) static void begin(void) {
  real_pread = dlsym(RTLD_NEXT, "pread64");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_read = dlsym(RTLD_NEXT, "read");
  real_write = dlsym(RTLD_NEXT, "write");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_open = dlsym(RTLD_NEXT, "open64");
  real_close = dlsym(RTLD_NEXT, "close");
  directory = getenv("DITTO_FAULT_DIR");
  counted = getenv("DITTO_FAULT_CALLS");
  kind = getenv("DITTO_FAULT_KIND");
  report = getenv("DITTO_FAULT_REPORT");
  at = getenv("DITTO_FAULT_AT") ? atol(getenv("DITTO_FAULT_AT")) : 0;
  times = getenv("DITTO_FAULT_TIMES") ? atol(getenv("DITTO_FAULT_TIMES")) : 1;
  if (!counted) counted = "";
  if (!kind) kind = "eio";
  if (directory) atexit(finish);
}

static int is_cut(void) { return !strcmp(kind, "drop") || !strcmp(kind, "some") || !strcmp(kind, "tear"); }

/* The shared-memory file is never read after a power cut. */
static int is_durable(const char *path) {
  size_t n = strlen(path);
  return n < 4 || strcmp(path + n - 4, "-shm");
}

/* Takes the unsynced changes back, as far as the kind says, and ends the process. */
static void cut(void) {
  unsigned long random = (unsigned long)at * 2654435761u + 12345;
  for (struct change *c = changes; c; c = c->next) {
    random = random * 6364136223846793005ul + 1442695040888963407ul;
    if (!strcmp(kind, "some") && (random >> 40) % 2) continue;
    int fd = real_open(c->path, O_RDWR);
    if (fd < 0) continue;
    /* Disks write whole sectors: a torn write ends at a multiple of 512. */
    size_t keep = !strcmp(kind, "tear") ? c->len / 2 / 512 * 512 : 0;
    if (keep < c->old_len && real_pwrite(fd, c->old + keep, c->old_len - keep, c->offset + (off64_t)keep) < 0) {}
    struct stat s;
    off64_t end = c->offset + (off64_t)keep > c->old_size ? c->offset + (off64_t)keep : c->old_size;
    if (!fstat(fd, &s) && s.st_size > end && real_ftruncate(fd, end) < 0) {}
    real_close(fd);
  }
  finish();
  _exit(POWER_CUT);
}

/* Remembers what a change of [offset, offset + len) will overwrite. */
static void remember(int fd, off64_t offset, size_t len) {
  struct stat s;
  if (!is_cut() || !is_durable(paths[fd]) || fstat(fd, &s)) return;
  struct change *c = calloc(1, sizeof *c);
  if (!c) abort();
  c->path = strdup(paths[fd]);
  c->offset = offset;
  c->len = len;
  c->old_size = s.st_size;
  if (offset < s.st_size) {
    size_t there = (size_t)(s.st_size - offset);
    c->old_len = there < len ? there : len;
    c->old = malloc(c->old_len);
    if (!c->old || real_pread(fd, c->old, c->old_len, offset) != (ssize_t)c->old_len) abort();
  }
  c->next = changes;
  changes = c;
}

static void synced(const char *path) {
  struct change **p = &changes;
  while (*p) {
    struct change *c = *p;
    if (!strcmp(c->path, path)) {
      *p = c->next;
      free(c->path);
      free(c->old);
      free(c);
    } else {
      p = &c->next;
    }
  }
}

static int meant(int fd) { return fd >= 0 && fd < FILES && paths[fd]; }

/* Counts a call; says whether it has to fail. Called with the lock held. */
static int fails(char call) {
  if (!strchr(counted, call)) return 0;
  calls++;
  if (!at || calls < at || calls >= at + times) return 0;
  fired++;
  if (is_cut()) cut();
  errno = !strcmp(kind, "enospc") ? ENOSPC : EIO;
  return 1;
}

#define SHORT (!strcmp(kind, "short"))

static ssize_t do_pread(int fd, void *buffer, size_t n, off64_t offset) {
  if (!meant(fd)) return real_pread(fd, buffer, n, offset);
  pthread_mutex_lock(&lock);
  ssize_t done = -1;
  if (!fails('r')) done = real_pread(fd, buffer, n, offset);
  else if (SHORT) done = real_pread(fd, buffer, n / 2, offset);
  pthread_mutex_unlock(&lock);
  return done;
}

static ssize_t do_pwrite(int fd, const void *buffer, size_t n, off64_t offset) {
  if (!meant(fd)) return real_pwrite(fd, buffer, n, offset);
  pthread_mutex_lock(&lock);
  ssize_t done = -1;
  /* The write of the power cut is one of those that did not reach the disk. */
  remember(fd, offset, n);
  if (is_cut()) {
    done = real_pwrite(fd, buffer, n, offset);
    fails('w');
  } else if (!fails('w')) {
    done = real_pwrite(fd, buffer, n, offset);
  } else if (SHORT && n > 1) {
    done = real_pwrite(fd, buffer, n / 2, offset);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

static int do_sync(int fd, int (*real)(int)) {
  if (!meant(fd)) return real(fd);
  pthread_mutex_lock(&lock);
  int done = -1;
  if (!fails('s')) {
    /* Nothing here survives a real power cut any better for being synced: what counts is the order. */
    done = 0;
    synced(paths[fd]);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

static int do_ftruncate(int fd, off64_t size) {
  if (!meant(fd)) return real_ftruncate(fd, size);
  pthread_mutex_lock(&lock);
  int done = -1;
  if (!fails('t')) {
    struct stat s;
    if (!fstat(fd, &s) && s.st_size > size) remember(fd, size, (size_t)(s.st_size - size));
    done = real_ftruncate(fd, size);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

static int do_open(const char *path, int flags, int mode) {
  size_t n = directory ? strlen(directory) : 0;
  if (!n || strncmp(path, directory, n) || path[n] != '/') return real_open(path, flags, mode);
  pthread_mutex_lock(&lock);
  int fd = -1;
  if (!fails('o')) fd = real_open(path, flags, mode);
  if (fd >= 0 && fd < FILES) {
    free(paths[fd]);
    paths[fd] = strdup(path);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

static int mode_of(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0; }

ssize_t pread64(int fd, void *b, size_t n, off64_t o) { return do_pread(fd, b, n, o); }
ssize_t pread(int fd, void *b, size_t n, off_t o) { return do_pread(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { return do_pwrite(fd, b, n, o); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return do_pwrite(fd, b, n, o); }
int ftruncate64(int fd, off64_t n) { return do_ftruncate(fd, n); }
int ftruncate(int fd, off_t n) { return do_ftruncate(fd, n); }
int fsync(int fd) { return do_sync(fd, real_fsync); }
int fdatasync(int fd) { return do_sync(fd, real_fdatasync); }

ssize_t read(int fd, void *b, size_t n) {
  if (!meant(fd)) return real_read(fd, b, n);
  pthread_mutex_lock(&lock);
  ssize_t done = fails('r') ? -1 : real_read(fd, b, n);
  pthread_mutex_unlock(&lock);
  return done;
}

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = mode_of(flags, list);
  va_end(list);
  return do_open(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = mode_of(flags, list);
  va_end(list);
  return do_open(path, flags, mode);
}

int close(int fd) {
  if (meant(fd)) {
    pthread_mutex_lock(&lock);
    free(paths[fd]);
    paths[fd] = NULL;
    pthread_mutex_unlock(&lock);
  }
  return real_close(fd);
}
