// PouchDB on leveldb at both ends: the full one behind express-pouchdb, the empty one replicates from it. The indexes of
// the receiver are filled by its first query, which counts.
import { once } from 'node:events';

import express from 'express';
import serve from 'express-pouchdb';
import http from 'pouchdb-adapter-http';
import leveldb from 'pouchdb-adapter-leveldb';
import PouchDB from 'pouchdb-core';
import find from 'pouchdb-find';
import replication from 'pouchdb-replication';

PouchDB.plugin(leveldb).plugin(http).plugin(replication).plugin(find);

export async function prepare(directory, documents) {
  const Served = PouchDB.defaults({ prefix: `${directory}/full-`, adapter: 'leveldb' });
  const full = new Served('docs');
  for (let i = 0; i < documents.length; i += 1000) await full.bulkDocs(documents.slice(i, i + 1000));
  const app = express();
  app.use(serve(Served, { mode: 'minimumForPouchDB', inMemoryConfig: true, logPath: `${directory}/log.txt` }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const empty = new PouchDB(`${directory}/empty`, { adapter: 'leveldb' });
  await empty.createIndex({ index: { fields: ['store'] } });
  await empty.createIndex({ index: { fields: ['status', 'ts'] } });
  return async () => {
    const from = `http://127.0.0.1:${server.address().port}/docs`;
    const { docs_written: written } = await empty.replicate.from(from, { batch_size: 1000 });
    await empty.find({ selector: { store: 42 }, limit: 1 });
    await empty.find({ selector: { status: 'open', ts: { $gt: null } }, limit: 1 });
    return written;
  };
}
