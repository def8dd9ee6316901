// node run.mjs PEER DOCUMENTS DIRECTORY: runs the workloads on one database and prints a JSON line for each.
//
// DOCUMENTS holds one JSON document a line. Figures are microseconds of CPU of the whole process for each operation, but
// for `live`, which is the median time on the clock. Every result is turned into JSON text, as an application that sends or shows it would.
import { readFileSync } from 'node:fs';

const [peer, file, directory] = process.argv.slice(2);
const documents = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const shuffled = documents.map((d) => d._id);
for (let i = shuffled.length - 1, state = 7; i > 0; i--) {
  state = (state * 1103515245 + 12345) % 2147483648;
  const j = state % (i + 1);
  [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
}

async function measure(workload, operations, run) {
  const before = process.cpuUsage();
  const rows = await run();
  const used = process.cpuUsage(before);
  console.log(JSON.stringify({ workload, us: (used.user + used.system) / operations, rows }));
}

// Runs `query` a few times and counts the rows that come out.
const repeated = (workload, times, query) =>
  measure(workload, times, async () => {
    let rows = 0;
    for (let i = 0; i < times; i++) {
      const found = await query();
      JSON.stringify(found);
      rows = found.length;
    }
    return rows;
  });

const chunks = [];
for (let i = 0; i < documents.length; i += 1000) chunks.push(documents.slice(i, i + 1000));
const changed = shuffled.slice(0, documents.length / 10);

const { open } = await import(`./${peer}.mjs`);
const db = await open(directory);
await measure('insert', documents.length, async () => {
  for (const chunk of chunks) await db.insert(chunk);
  return await db.count();
});
await db.ready?.();
const reads = shuffled.slice(0, 5000);
await measure('read', reads.length, async () => {
  let bytes = 0;
  for (const id of reads) bytes += JSON.stringify(await db.get(id)).length;
  return bytes > 0 ? reads.length : 0;
});
await repeated('scan', 3, () => db.scan());
await repeated('index', 20, () => db.index());
await repeated('order', 20, () => db.order());
await measure('count', 20, async () => {
  let n = 0;
  for (let i = 0; i < 20; i++) n = await db.count();
  return n;
});
await measure('update', changed.length, async () => {
  for (const id of changed) await db.update(id, 5000);
  return changed.length;
});
if (db.observe) {
  const observed = (await db.index()).map((d) => d.id ?? d._id);
  let called = () => {};
  await db.observe((rows) => called(rows));
  const times = [];
  for (let i = 0; i < 100; i++) {
    const id = observed[i % observed.length];
    const done = new Promise((resolve) => {
      called = (rows) => {
        if (rows.some((d) => (d.id ?? d._id) === id && d.qty === 6000 + i)) resolve();
      };
    });
    const began = process.hrtime.bigint();
    await db.update(id, 6000 + i);
    await done;
    times.push(Number(process.hrtime.bigint() - began) / 1000);
  }
  times.sort((a, b) => a - b);
  console.log(JSON.stringify({ workload: 'live', us: times[50], rows: observed.length }));
}
process.exit(0);
