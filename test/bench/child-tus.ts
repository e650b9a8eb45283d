/**
 * The peer of our intake: the unchanged @tus/server with its file store, behind the same certificates. It neither hashes
 * nor syncs what it takes. Says `{"port": …}`.
 *
 * `node child-tus.ts KEYS FOLDER`
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TusReceiver } from '../peers/producer/tus-receiver.ts';

const [keys = '', folder = ''] = process.argv.slice(2);
const pem = (name: string) => readFileSync(join(keys, name), 'utf8');
const server = { cert: pem('server.pem'), key: pem('server.key') };
const { port } = await TusReceiver.start({ server, authority: { cert: pem('ca.pem') } }, folder);
process.stdout.write(`${JSON.stringify({ port })}\n`);
