import unittest

from demo.graph import Graph


def connection(one, two, transport="AccessPoint", old=False):
    first, second = ("peerKeyString1", "peerKeyString2") if old else ("peer1", "peer2")
    return {"id": f"{one}|{two}|{transport}", first: one, second: two, "connectionType": transport}


def peer(key, *connections):
    return {
        "peerKey": key,
        "deviceName": key.upper(),
        "os": "Linux",
        "dittoSdkVersion": "1",
        "connections": connections,
    }


class Graphs(unittest.TestCase):
    def setUp(self):
        ab, bc = connection("a", "b"), connection("b", "c", old=True)
        self.line = Graph({"localPeer": peer("a", ab), "remotePeers": [peer("b", ab, bc), peer("c", bc)]})

    def test_each_connection_counts_once(self):
        self.assertEqual([c.ends for c in self.line.connections], [("a", "b"), ("b", "c")])

    def test_two_transports_between_the_same_peers_are_two_connections(self):
        both = [connection("a", "b"), connection("a", "b", "Bluetooth")]
        graph = Graph({"localPeer": peer("a", *both), "remotePeers": [peer("b", *both)]})
        self.assertEqual([c.transport for c in graph.connections], ["AccessPoint", "Bluetooth"])

    def test_neighbours_are_direct_only(self):
        self.assertEqual(self.line.remote_keys(), {"b", "c"})
        self.assertEqual(self.line.neighbours(), {"b"})
        self.assertTrue(self.line.connected_to({"b"}))
        self.assertFalse(self.line.connected_to({"b", "c"}))

    def test_rows(self):
        self.assertEqual([row[-1] for row in self.line.peer_rows()], ["this peer", "direct", "over others"])
        self.assertEqual(
            [row[:3] for row in self.line.connection_rows()],
            [["A", "B", "AccessPoint"], ["B", "C", "AccessPoint"]],
        )
        self.assertIn("connected to: B", self.line.summary())

    def test_alone(self):
        graph = Graph({"localPeer": peer("a"), "remotePeers": []})
        self.assertEqual(graph.connection_rows(), [])
        self.assertEqual(graph.summary(), "nobody (connected to: nobody)")


if __name__ == "__main__":
    unittest.main()
