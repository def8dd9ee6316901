// RxDB on its storage in memory, the fastest of those without a licence key: not durable.
import { createRxDatabase } from 'rxdb';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';

const whole = { type: 'number', minimum: 0, multipleOf: 1 };
const schema = {
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: {
    id: { type: 'string', maxLength: 24 },
    customer: { type: 'string' },
    note: { type: 'string' },
    qty: whole,
    sku: { type: 'string' },
    status: { type: 'string', maxLength: 10 },
    store: { ...whole, maximum: 1000 },
    ts: { ...whole, maximum: 10000000000000 },
  },
  required: ['id', 'status', 'store', 'ts'],
  indexes: ['store', ['status', 'ts']],
};

export async function open(name = 'bench') {
  const db = await createRxDatabase({ name, storage: getRxStorageMemory(), multiInstance: false });
  const { docs } = await db.addCollections({ docs: { schema } });
  const all = async (query) => (await docs.find(query).exec()).map((d) => d.toJSON());
  // RxDB keeps the results of queries: another value of something that always holds makes each one new.
  let other = 0;
  const anew = () => ({ ts: { $gt: other++ } });
  return {
    docs,
    insert: (chunk) => docs.bulkInsert(chunk.map(({ _id, ...rest }) => ({ id: _id, ...rest }))),
    get: async (id) => (await docs.findOne(id).exec()).toJSON(),
    scan: () => all({ selector: { qty: { $gt: 990 }, ...anew() } }),
    index: () => all({ selector: { store: 42, ...anew() } }),
    order: () => all({ selector: { status: 'open', ...anew() }, sort: [{ ts: 'desc' }], limit: 20 }),
    count: async () => docs.count().exec(),
    update: async (id, qty) => (await docs.findOne(id).exec()).incrementalPatch({ qty }),
    observe: async (call) => {
      docs.find({ selector: { store: 42 } }).$.subscribe((rows) => call(rows.map((d) => d.toJSON())));
    },
  };
}
