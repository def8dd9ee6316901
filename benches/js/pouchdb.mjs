// PouchDB on leveldb: on disk.
import leveldb from 'pouchdb-adapter-leveldb';
import PouchDB from 'pouchdb-core';
import find from 'pouchdb-find';

PouchDB.plugin(leveldb).plugin(find);

export async function open(directory) {
  const db = new PouchDB(`${directory}/pouch`, { adapter: 'leveldb' });
  await db.createIndex({ index: { fields: ['store'] } });
  await db.createIndex({ index: { fields: ['status', 'ts'] } });
  const all = async (query) => (await db.find({ limit: 1000000, ...query })).docs;
  const index = () => all({ selector: { store: 42 } });
  return {
    insert: (chunk) => db.bulkDocs(chunk.map((d) => ({ ...d }))),
    // Its indexes are filled by the first query.
    ready: index,
    get: (id) => db.get(id),
    scan: () => all({ selector: { qty: { $gt: 990 } } }),
    index,
    order: () =>
      all({
        selector: { status: 'open', ts: { $gt: null } },
        sort: [{ status: 'desc' }, { ts: 'desc' }],
        limit: 20,
      }),
    count: async () => (await db.info()).doc_count - 2,
    update: async (id, qty) => db.put({ ...(await db.get(id)), qty }),
  };
}
