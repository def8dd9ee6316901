// RxDB on its storage in memory at both ends: the empty one pulls batches over HTTP by its replication plugin.
import { once } from 'node:events';
import { createServer } from 'node:http';

import { getChangedDocumentsSince } from 'rxdb';
import { replicateRxCollection } from 'rxdb/plugins/replication';

import { open } from './rxdb.mjs';

const BATCH = 1000;

export async function prepare(_directory, documents) {
  const [full, empty] = [await open('full'), await open('empty')];
  for (let i = 0; i < documents.length; i += BATCH) await full.insert(documents.slice(i, i + BATCH));
  const server = createServer(async (request, response) => {
    const checkpoint = JSON.parse(new URL(request.url, 'http://localhost').searchParams.get('after'));
    const changes = await getChangedDocumentsSince(full.docs.storageInstance, BATCH, checkpoint ?? undefined);
    response.end(JSON.stringify(changes));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return async () => {
    const url = `http://127.0.0.1:${server.address().port}/?after=`;
    const replication = replicateRxCollection({
      collection: empty.docs,
      replicationIdentifier: 'bench',
      live: false,
      pull: {
        batchSize: BATCH,
        handler: async (checkpoint) =>
          (await fetch(url + encodeURIComponent(JSON.stringify(checkpoint ?? null)))).json(),
      },
    });
    await replication.awaitInitialReplication();
    return empty.count();
  };
}
