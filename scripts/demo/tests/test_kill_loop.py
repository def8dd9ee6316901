import json
import os
import random
import stat
import sys
import tempfile
import textwrap
import unittest

from demo.kill_loop import BATCH, Import, Lost

# Stands in for the program: `import` acknowledges batches, the rest reads what it wrote. FAULT makes it
# break one promise, which the loop must notice.
PROGRAM = textwrap.dedent(
    """\
    #!{python}
    import json, os, sys
    FAULT = {fault!r}
    folder = sys.argv[sys.argv.index("--dir") + 1]
    path = os.path.join(folder, "data.jsonl")
    held = {{}}
    if os.path.exists(path):
        for line in open(path):
            for document in json.loads(line):
                held[document["_id"]] = document
    if sys.argv[1] == "import":
        lines = open(sys.argv[-1]).read().splitlines()
        start = int(sys.argv[sys.argv.index("--skip-lines") + 1])
        size = int(sys.argv[sys.argv.index("--batch-size") + 1])
        for n in range(start, len(lines), size):
            batch = [json.loads(line) for line in lines[n : n + size]]
            stored = batch[1:] if FAULT == "torn" else batch
            if FAULT != "lost":
                with open(path, "a") as file:
                    file.write(json.dumps(stored) + chr(10))
            commit = None if FAULT == "no commit" else n
            line = n + len(batch)
            print(json.dumps({{"committed": len(batch), "line": line, "commitId": commit}}), flush=True)
        print(json.dumps({{"imported": len(lines) - start, "skipped": 0}}), flush=True)
    elif sys.argv[1] == "check":
        print(json.dumps({{"problems": ["broken"] if FAULT == "corrupt" else []}}))
    else:
        if FAULT == "altered":
            held["0"]["v"] = -1
        print(json.dumps({{"items": list(held.values())}}))
    """
)


class KillLoop(unittest.TestCase):
    def make(self, fault):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        documents = [{"_id": str(n), "v": n} for n in range(5 * BATCH + 7)]
        file = os.path.join(folder.name, "file.jsonl")
        with open(file, "w") as out:
            out.writelines(json.dumps(d) + "\n" for d in documents)
        program = os.path.join(folder.name, "program")
        with open(program, "w") as out:
            out.write(PROGRAM.format(python=sys.executable, fault=fault))
        os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)
        current = Import(program, file, documents)
        self.addCleanup(current.folder.cleanup)
        return current

    def run_to_the_end(self, fault):
        current = self.make(fault)
        dice = random.Random(7)
        for _ in range(50):
            current.run_and_kill(dice)
            current.verify()
            if current.acknowledged == len(current.documents):
                return current
        self.fail("the import did not get to its end in 50 runs")

    def test_a_faithful_program_passes(self):
        current = self.run_to_the_end("")
        self.assertEqual(current.verify(), 5 * BATCH + 7)

    def test_every_broken_promise_is_noticed(self):
        for fault in ("lost", "torn", "altered", "no commit", "corrupt"):
            with self.subTest(fault), self.assertRaises(Lost):
                self.run_to_the_end(fault)


if __name__ == "__main__":
    unittest.main()
