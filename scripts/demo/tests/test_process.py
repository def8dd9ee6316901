import os
import sys
import tempfile
import textwrap
import unittest

from demo.process import JsonLinesProcess, ProcessFailed, RequestFailed

# Answers each request; speaks the control protocol as far as these tests need it.
CHILD = textwrap.dedent(
    """
    import json, sys
    def say(message):
        print(json.dumps(message), flush=True)
    say({"ready": True, "peerKey": "pk1"})
    held = None
    for line in sys.stdin:
        request = json.loads(line)
        kind = request["kind"]
        if kind == "execute":
            say({"id": request["id"], "items": [request["args"]]})
        elif kind == "refuse":
            say({"id": request["id"], "error": {"kind": "query/invalid", "message": "no"}})
        elif kind == "hold":
            held = request["id"]
        elif kind == "release":
            say({"id": request["id"]})
            say({"id": held, "late": True})
        elif kind == "event":
            say({"event": "message", "text": request["text"]})
            say({"id": request["id"]})
        elif kind == "noise":
            print("this is not JSON", flush=True)
            print("log line", file=sys.stderr, flush=True)
            say({"id": request["id"]})
        elif kind == "close":
            say({"id": request["id"]})
            break
        elif kind == "die":
            sys.exit(5)
    """
)


class Processes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.process = JsonLinesProcess(
            "child", [sys.executable, "-c", CHILD], os.path.join(folder.name, "log")
        )
        self.addCleanup(self.process.abandon)
        self.assertEqual(self.process.first_line(20)["peerKey"], "pk1")

    def test_request_and_answer(self):
        self.assertEqual(self.process.items("SELECT 1", {"ü": [1, 2.5, None]}), [{"ü": [1, 2.5, None]}])

    def test_answers_may_come_in_another_order(self):
        held = self.process.submit("hold")
        self.process.request("release")
        self.assertTrue(self.process.result(held, 20, "hold")["late"])

    def test_an_error_is_raised_with_the_statement(self):
        with self.assertRaisesRegex(RequestFailed, "child refused .*SELECT oops.*query/invalid"):
            self.process.request("refuse", statement="SELECT oops")

    def test_events_are_kept_until_asked_for(self):
        self.process.request("event", text="one")
        self.process.request("event", text="two")
        found = self.process.wait_event(lambda e: e.get("text") == "two", 20, "event two")
        self.assertEqual(found["event"], "message")
        with self.assertRaisesRegex(ProcessFailed, "no event three within 0 s"):
            self.process.wait_event(lambda e: e.get("text") == "three", 0.05, "event three")

    def test_noise_is_survived(self):
        self.process.request("noise")
        self.assertEqual(self.process.wait_event(lambda e: True, 20, "noise")["event"], "unreadable")
        tail = self.process.log_tail()
        self.assertIn("log line", tail)
        self.assertIn("this is not JSON", tail)

    def test_close(self):
        self.process.request("close")
        self.assertEqual(self.process.wait_end(20), 0)
        self.assertFalse(self.process.running)

    def test_an_unanswered_request_fails_when_the_process_ends(self):
        held = self.process.submit("hold")
        self.process.submit("die")
        with self.assertRaisesRegex(ProcessFailed, "ended before it answered"):
            held.result(20)
        self.assertEqual(self.process.wait_end(20), 5)
        with self.assertRaises(ProcessFailed):
            self.process.request("execute")

    def test_kill(self):
        held = self.process.submit("hold")
        self.process.kill()
        self.assertEqual(self.process.process.returncode, -9)
        with self.assertRaises(ProcessFailed):
            held.result(20)

    def test_no_answer_in_time(self):
        with self.assertRaisesRegex(ProcessFailed, "no answer to hold within 0 s"):
            self.process.request("hold", timeout=0.05)


if __name__ == "__main__":
    unittest.main()
