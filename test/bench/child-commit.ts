/**
 * The limit of a receiver that commits before each answer: our framer, one insert in a transaction of its own (WAL,
 * synchronous=FULL, one index by control id), and an answer made of fixed text. Nothing is read, judged or encrypted. Says
 * `{"port": …}`.
 *
 * `node child-commit.ts DATABASE`
 */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import Database from 'better-sqlite3';
import { systemClock } from '../../agent/base/clock.ts';
import { MllpFramer } from '../../agent/source/hl7v2/framer.ts';

const frameBytesMax = 64 * 1024 * 1024;

const db = new Database(process.argv[2] ?? '');
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec(`
  CREATE TABLE message(id INTEGER PRIMARY KEY, control_id TEXT, at INTEGER, body BLOB) STRICT;
  CREATE INDEX message_key ON message(control_id);
`);
const insert = db.prepare('INSERT INTO message(control_id, at, body) VALUES (?, ?, ?)');

const server = createServer({ noDelay: true }, (socket) => {
  const frame = (content: Buffer) => {
    const controlId = content.toString('latin1', 0, 256).split('|')[9] ?? '';
    insert.run(controlId, systemClock.now(), content);
    socket.write(`\x0bMSH|^~\\&|A|B|C|D|20261123101530||ACK|${controlId}|P|2.5\rMSA|AA|${controlId}\r\x1c\r`, 'latin1');
  };
  const framer = new MllpFramer(
    { frameBytesMax, now: () => systemClock.monotonic() },
    { frame, problem: () => socket.destroy(), fault: () => socket.destroy() },
  );
  socket.on('data', (chunk: Buffer) => framer.push(chunk));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
