/**
 * Signatures of minisign, as its author describes them: Ed25519 over the BLAKE2b-512 digest of a file. Only the form
 * that signs a digest is taken (`ED`); the older one (`Ed`) would need the whole file in memory.
 *
 * ```
 * public key   untrusted comment: …        signature   untrusted comment: …
 *              base64("Ed" id[8] key[32])              base64("ED" id[8] signature[64])
 *                                                      trusted comment: TEXT
 *                                                      base64(signature[64] over signature, TEXT)
 * ```
 */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

export interface MinisignKey {
  readonly id: Buffer;
  readonly key: KeyObject;
}

export interface MinisignSignature {
  readonly keyId: Buffer;
  readonly signature: Buffer;
  readonly trustedComment: string;
  readonly commentSignature: Buffer;
}

/** What comes before the 32 bytes of an Ed25519 public key in its DER form; RFC 8410 section 4. */
const ed25519Prefix = Buffer.from('302a300506032b6570032100', 'hex');

const untrustedLine = /^untrusted comment: [^\r\n]*$/;
const trustedLine = /^trusted comment: ([^\r\n]*)$/;

/** The key from its file's text, or from the one line of it that is printed; undefined for anything else. */
export function parseMinisignKey(text: string): MinisignKey | undefined {
  const lines = linesOf(text);
  if (lines.length > 1 && !untrustedLine.test(lines.shift() ?? '')) return undefined;
  const bytes = lines.length === 1 ? decode(lines[0], 'Ed', 42) : undefined;
  if (!bytes) return undefined;
  const der = Buffer.concat([ed25519Prefix, bytes.subarray(10)]);
  return { id: bytes.subarray(2, 10), key: createPublicKey({ key: der, format: 'der', type: 'spki' }) };
}

/** Undefined for anything but a whole signature in the form above. */
export function parseMinisignSignature(text: string): MinisignSignature | undefined {
  const [untrusted = '', signature, trusted = '', last, ...more] = linesOf(text);
  const bytes = decode(signature, 'ED', 74);
  const commentSignature = decode(last, '', 64);
  const [, trustedComment] = trustedLine.exec(trusted) ?? [];
  if (!untrustedLine.test(untrusted) || trustedComment === undefined || more.length > 0) return undefined;
  if (!bytes || !commentSignature) return undefined;
  return { keyId: bytes.subarray(2, 10), signature: bytes.subarray(10), trustedComment, commentSignature };
}

/** Whether the holder of the key has signed this file, and the trusted comment with it. Reads the file in pieces. */
export async function verifyMinisign(path: string, signed: MinisignSignature, { id, key }: MinisignKey) {
  if (!signed.keyId.equals(id)) return false;
  const digest = createHash('blake2b512');
  await pipeline(createReadStream(path), digest);
  const comment = Buffer.concat([signed.signature, Buffer.from(signed.trustedComment)]);
  return verify(null, digest.digest(), key, signed.signature) && verify(null, comment, key, signed.commentSignature);
}

/** Line ends of either kind: the files travel by way of other systems. */
function linesOf(text: string): string[] {
  return text.replace(/\r?\n$/, '').split(/\r?\n/);
}

/** Only the one way of writing these bytes: a bit that is ignored could be changed unseen. */
function decode(line: string | undefined, algorithm: string, length: number): Buffer | undefined {
  const bytes = Buffer.from(line ?? '', 'base64');
  const isWhole = bytes.length === length && bytes.toString('base64') === line;
  return isWhole && bytes.toString('latin1').startsWith(algorithm) ? bytes : undefined;
}
