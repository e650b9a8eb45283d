/**
 * The payload of an age v1 file (C2SP age.md, "Payload"), which follows the textual header:
 *
 * ```
 * payload = nonce(16) || chunk* || lastChunk
 * chunk   = ciphertext(65,536) || tag(16)        ChaCha20-Poly1305, no associated data
 * last    = ciphertext(0 to 65,536) || tag(16)   empty only when the whole plaintext is empty
 * key     = HKDF-SHA-256(ikm = file key, salt = nonce, info = "payload")
 * nonce   = chunk number (11, big endian) || 1 for the last chunk, else 0
 * ```
 */
import { hkdfSync } from 'node:crypto';

export const chunkBytes = 64 * 1024;
export const tagBytes = 16;
export const nonceBytes = 16;
export const cipher = 'chacha20-poly1305';

export const payloadKeyBytes = 32;

/**
 * Chunks moved at once between memory and disk, and between threads: about 2 MiB. Waking another thread was measured at
 * 0.1 to 0.7 ms on a virtual machine, which is as long as sealing 1 MiB.
 */
const blockChunks = 32;
export const plainBlockBytes = blockChunks * chunkBytes;
export const sealedBlockBytes = blockChunks * (chunkBytes + tagBytes);

export function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', payloadKeyBytes));
}

export function chunkNonce(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  // Six bytes reach 16 EiB of plaintext; the five above them stay zero.
  nonce.writeUIntBE(index, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}
