// node replicate.mjs PEER DOCUMENTS DIRECTORY: brings all documents from a full database to an empty one over HTTP on
// loopback, both ends in this process, and prints one JSON line with seconds on the clock and of CPU.
import { readFileSync } from 'node:fs';

const [peer, file, directory] = process.argv.slice(2);
const documents = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const { prepare } = await import(`./${peer}-sync.mjs`);
const pull = await prepare(directory, documents);
const began = process.hrtime.bigint();
const before = process.cpuUsage();
const arrived = await pull();
const used = process.cpuUsage(before);
const wall = Number(process.hrtime.bigint() - began) / 1e9;
if (arrived !== documents.length) throw new Error(`${arrived} of ${documents.length} documents arrived`);
console.log(JSON.stringify({ wall, cpu: (used.user + used.system) / 1e6 }));
process.exit(0);
