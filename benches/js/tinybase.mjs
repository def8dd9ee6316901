// TinyBase: in memory, not durable.
import { createIndexes, createQueries, createStore } from 'tinybase';

export async function open() {
  const store = createStore();
  const indexes = createIndexes(store);
  indexes.setIndexDefinition('store', 'docs', 'store');
  indexes.setIndexDefinition('status', 'docs', 'status', 'ts');
  const queries = createQueries(store);
  const rows = (ids) => ids.map((id) => ({ _id: id, ...store.getRow('docs', id) }));
  return {
    insert: (chunk) =>
      store.transaction(() => {
        for (const { _id, ...rest } of chunk) store.setRow('docs', _id, rest);
      }),
    get: (id) => store.getRow('docs', id),
    scan: () => {
      const found = [];
      for (const id of store.getRowIds('docs')) if (store.getCell('docs', id, 'qty') > 990) found.push(id);
      return rows(found);
    },
    index: () => rows(indexes.getSliceRowIds('store', '42')),
    order: () => rows(indexes.getSliceRowIds('status', 'open').slice(-20).reverse()),
    count: () => store.getRowCount('docs'),
    update: (id, qty) => store.setCell('docs', id, 'qty', qty),
    observe: (call) => {
      queries.setQueryDefinition('live', 'docs', ({ select, where }) => {
        for (const name of ['customer', 'note', 'qty', 'sku', 'status', 'store', 'ts']) select(name);
        where('store', 42);
      });
      queries.addResultTableListener('live', () =>
        call(Object.entries(queries.getResultTable('live')).map(([id, row]) => ({ _id: id, ...row }))),
      );
    },
  };
}
