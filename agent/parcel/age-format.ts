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

/** Sealed chunks moved at once between memory and disk: about 1 MiB, so that system calls do not show. */
export const blockBytes = 16 * (chunkBytes + tagBytes);

export function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
}

export function chunkNonce(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  // Six bytes reach 16 EiB of plaintext; the five above them stay zero.
  nonce.writeUIntBE(index, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}
