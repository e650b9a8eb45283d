/**
 * The sender of child-sink.ts: as many bytes as child-modality.ts sends, in the same pieces, without a protocol. Says
 * `{"seconds": …}`, from the first byte until the sink has closed its file.
 *
 * `node child-pour.ts PORT BYTES`
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { pour } from './noise.ts';

const [port, byteCount] = process.argv.slice(2);
const startedAt = performance.now();
const socket = connect({ port: Number(port), host: '127.0.0.1', noDelay: true });
const written = once(socket, 'data');
await pour(socket, Number(byteCount));
socket.end();
await written;
process.stdout.write(`${JSON.stringify({ seconds: (performance.now() - startedAt) / 1000 })}\n`);
