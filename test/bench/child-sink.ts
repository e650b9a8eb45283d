/**
 * The least that a receiver can do: a TCP server that writes what comes to a file and says one byte when the file is
 * closed. Prints `{"port": …}`.
 *
 * `node child-sink.ts FOLDER`
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { portOf } from '../peers/producer/port.ts';

const [folder = ''] = process.argv.slice(2);
/** The best of those tried, 64 KiB to 1 MiB. */
const pieceBytes = 256 * 1024;
let count = 0;

const server = createServer({ allowHalfOpen: true, highWaterMark: pieceBytes }, (socket) => {
  const file = createWriteStream(join(folder, String(count++)), { highWaterMark: 4 * pieceBytes });
  socket.pipe(file).once('finish', () => socket.end('k'));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.stdout.write(`${JSON.stringify({ port: portOf(server) })}\n`);
