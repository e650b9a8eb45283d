/** The thread behind SideDigest: hashes what it is shown, answers each piece, and ends with the digest in hex. */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';

assert(parentPort && Array.isArray(workerData));
const port = parentPort;
const digest = createHash('sha256');
for (const piece of workerData) digest.update(piece);

port.on('message', (piece: Uint8Array | undefined) => {
  if (piece) {
    digest.update(piece);
    port.postMessage('hashed');
  } else {
    port.postMessage(digest.digest('hex'));
    port.close();
  }
});
