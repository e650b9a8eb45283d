/**
 * The peer of the HL7 benches: @medplum/hl7 as its documentation shows it, and one insert a message, acknowledged after
 * the commit at the same durability as ours (WAL, synchronous=FULL). It encrypts nothing. Says `{"port": …}`.
 *
 * It has no option to listen on one address only: run the bench where that is harmless.
 *
 * `node child-medplum.ts DATABASE`
 */
import type { AddressInfo } from 'node:net';
import { Hl7Server } from '@medplum/hl7';
import Database from 'better-sqlite3';

const db = new Database(process.argv[2] ?? '');
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec(`
  CREATE TABLE message(id INTEGER PRIMARY KEY, source TEXT, control_id TEXT, at INTEGER, state INTEGER, body BLOB) STRICT;
  CREATE INDEX message_state ON message(state, id);
  CREATE INDEX message_key ON message(source, control_id);
`);
const insert = db.prepare('INSERT INTO message(source, control_id, at, state, body) VALUES (?, ?, ?, 0, ?)');

const server = new Hl7Server((connection) => {
  connection.addEventListener('message', ({ message }) => {
    const header = message.getSegment('MSH');
    const field = (index: number) => header?.getField(index)?.toString() ?? '';
    insert.run(field(3), field(10), Date.now(), Buffer.from(message.toString()));
    connection.send(message.buildAck());
  });
});
await server.start(0);
const address = server.server?.address() as AddressInfo | undefined;
process.stdout.write(`${JSON.stringify({ port: address?.port })}\n`);
