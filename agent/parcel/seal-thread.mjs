/**
 * Seals blocks of an age payload (age-format.ts draws it) and hashes what it sealed, so that reading, opening and
 * checking the records has the other core. Started by AgeWriter:
 *
 * ```
 * task     { index, bytes, isLast }     seal so many bytes of this block; they are the last
 * answer   { bytes, sha256 }            sealed bytes of the block of the same index; hex, of the file, with the last
 * ```
 */
import { createCipheriv, createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';

const { plain, sealed, head, key, cipher, chunkBytes, tagBytes } = workerData;
const digest = createHash('sha256').update(head);
const nonce = Buffer.alloc(12);
let chunks = 0;

parentPort.on('message', ({ index, bytes, isLast }) => {
  const block = sealed[index].subarray(0, seal(plain[index].subarray(0, bytes), sealed[index], isLast));
  digest.update(block);
  parentPort.postMessage({ bytes: block.length, sha256: isLast ? digest.digest('hex') : undefined }, []);
});

function seal(block, into, isLast) {
  let used = 0;
  // An empty file still has a chunk, of nothing.
  for (let offset = 0; offset === 0 || offset < block.length; offset += chunkBytes) {
    const piece = block.subarray(offset, offset + chunkBytes);
    used += sealChunk(piece, into.subarray(used), isLast && offset + piece.length === block.length);
  }
  return used;
}

function sealChunk(piece, into, isLast) {
  nonce.writeUIntBE(chunks++, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  const chunk = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes });
  const body = chunk.update(piece);
  body.copy(into);
  // Given back at once. The binding cannot write into a buffer of ours, and 64 MB of such outputs would pile up before
  // the collector looks: a third of what the process may use, and most of the time.
  body.buffer.transfer(0);
  chunk.final();
  into.set(chunk.getAuthTag(), piece.length);
  return piece.length + tagBytes;
}
