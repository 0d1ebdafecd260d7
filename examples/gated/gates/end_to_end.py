"""A suite in a test runner, Python's own here, that tells of its tests in JUnit's form."""

import json
import os
import sys
import time
import unittest
import urllib.request
from xml.etree import ElementTree

TARGET = os.environ["CUTOVER_TARGET_URL"].rstrip("/")
TOKEN = os.environ["NOTES_TOKEN"].strip()


def ask(path, method="GET", value=None):
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(TARGET + path, body, {"authorization": f"Bearer {TOKEN}"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
        return answer.headers, json.loads(text) if text.startswith(("{", "[")) else text


class EndToEnd(unittest.TestCase):
    def test_this_release_is_asked_and_no_other(self):
        headers, _ = ask("/notes")
        self.assertEqual(headers["x-version"], os.environ["CUTOVER_VERSION"])

    def test_the_newest_note_comes_first(self):
        keys = [ask("/notes", "POST", {"note": word})[1]["id"] for word in ("older", "newer")]
        for key in keys:
            self.addCleanup(ask, f"/notes/{key}", "DELETE")
        listed = [note["id"] for note in ask("/notes")[1]]
        self.assertLess(listed.index(keys[1]), listed.index(keys[0]), "the older one comes first")

    def test_what_people_write_is_no_html(self):
        key = ask("/notes", "POST", {"note": "<script>"})[1]["id"]
        self.addCleanup(ask, f"/notes/{key}", "DELETE")
        self.assertIn("&lt;script&gt;", ask("/")[1])


class Report(unittest.TextTestResult):
    """Writes the outcome of each test as JUnit's runners do."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.suite = ElementTree.Element("testsuite", name="end to end")

    def startTest(self, test):
        super().startTest(test)
        name = test._testMethodName.removeprefix("test_").replace("_", " ")
        self.case = ElementTree.SubElement(self.suite, "testcase", name=name)
        self.began = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.case.set("time", f"{time.monotonic() - self.began:.3f}")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        ElementTree.SubElement(self.case, "failure", message=str(error[1]))

    def addError(self, test, error):
        super().addError(test, error)
        ElementTree.SubElement(self.case, "error", message=str(error[1]))


result = unittest.TextTestRunner(resultclass=Report).run(unittest.defaultTestLoader.loadTestsFromTestCase(EndToEnd))
ElementTree.ElementTree(result.suite).write("var/end-to-end.xml", encoding="unicode")
sys.exit(not result.wasSuccessful())
