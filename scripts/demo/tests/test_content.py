import os
import tempfile
import unittest

from demo.content import BadFile, Content, batches, canonical, read_sample


class Canonical(unittest.TestCase):
    def test_order_of_keys_does_not_matter(self):
        self.assertEqual(
            canonical({"a": 1, "b": {"c": 2, "d": 3}}), canonical({"b": {"d": 3, "c": 2}, "a": 1})
        )

    def test_integers_and_floats_differ(self):
        self.assertNotEqual(canonical({"a": 1}), canonical({"a": 1.0}))
        self.assertNotEqual(canonical({"a": 1}), canonical({"a": True}))


class Reading(unittest.TestCase):
    def read(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "file.jsonl")
            with open(path, "wb") as file:
                file.write(text.encode())
            return read_sample(path)

    def test_ids_are_kept_made_and_deduplicated(self):
        sample = self.read('{"_id":"a","v":1}\n\n{"v":2}\n{"_id":"a","v":3}\n')
        self.assertEqual(sample.documents, [{"_id": "a", "v": 3}, {"_id": "line-3", "v": 2}])
        self.assertEqual((sample.generated_ids, sample.replaced), (1, 1))
        self.assertEqual(sample.bytes, len('{"_id":"a","v":1}\n\n{"v":2}\n{"_id":"a","v":3}\n'))

    def test_bad_lines_are_named(self):
        for text, part in (
            ('{"_id":1}\n{oops\n', "line 2: not JSON"),
            ("[1]\n", "line 1: a document is a JSON object"),
            ('{"a":NaN}\n', "line 1: not JSON: NaN"),
            ("\n", "has no document"),
        ):
            with self.subTest(text), self.assertRaisesRegex(BadFile, part):
                self.read(text)

    def test_the_bundled_sample_is_what_the_readme_says(self):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        sample = read_sample(os.path.join(root, "data", "cities.jsonl"))
        self.assertEqual(len(sample.documents), 7000)
        self.assertEqual((sample.generated_ids, sample.replaced), (0, 0))
        self.assertLess(sample.bytes, 3_000_000)
        self.assertTrue(all(isinstance(d["country"]["continent"]["code"], str) for d in sample.documents))


class Batches(unittest.TestCase):
    def test_by_count(self):
        documents = [{"_id": n} for n in range(5)]
        self.assertEqual([len(b) for b in batches(documents, 2)], [2, 2, 1])
        self.assertEqual([d for b in batches(documents, 2) for d in b], documents)
        self.assertEqual(list(batches([], 2)), [])

    def test_by_size_but_never_empty(self):
        documents = [{"_id": n, "text": "x" * 100} for n in range(3)]
        self.assertEqual([len(b) for b in batches(documents, 10, bytes_most=50)], [1, 1, 1])
        self.assertEqual([len(b) for b in batches(documents, 10, bytes_most=260)], [2, 1])


class Contents(unittest.TestCase):
    def test_equality_is_of_the_full_content(self):
        one = Content([{"_id": 1, "a": {"b": 2}}, {"_id": 2}])
        self.assertEqual(one, Content([{"_id": 2}, {"a": {"b": 2}, "_id": 1}]))
        self.assertEqual(one.digest(), Content([{"_id": 2}, {"a": {"b": 2}, "_id": 1}]).digest())
        for other in ([{"_id": 1, "a": {"b": 3}}, {"_id": 2}], [{"_id": 1, "a": {"b": 2}}], []):
            self.assertNotEqual(one, Content(other))
            self.assertNotEqual(one.digest(), Content(other).digest())
            self.assertTrue(one.difference(Content(other)))

    def test_difference_names_the_documents(self):
        lines = Content([{"_id": "a", "v": 1}, {"_id": "b"}]).difference(Content([{"_id": "a", "v": 2}]))
        self.assertEqual(len(lines), 2)
        self.assertIn('"v":1', lines[0])
        self.assertIn("(absent)", lines[1])

    def test_without(self):
        content = Content([{"_id": 1, "x": 1, "keep": 2}, {"_id": 2, "x": 1}])
        self.assertEqual(content.without(1, ("x",)), Content([{"_id": 1, "keep": 2}, {"_id": 2, "x": 1}]))
        self.assertEqual(content.without(9, ("x",)), content)
        self.assertEqual(content.document(1)["x"], 1)
        self.assertEqual(content.document(9), {})


if __name__ == "__main__":
    unittest.main()
