/**
 * What a record is known by. Both are HMACs under the index key, so that they say nothing of a UID or a path:
 *
 * ```
 * native = HMAC(lineage, native key)                                   16 bytes
 * rid    = native[0..8] || HMAC(lineage, native key, digest[, op])[0..8]
 * ```
 * `rid` is the record's id outside: the same each time the same thing is offered, also after a restore. It begins with
 * half of `native`, so that one index finds a record by either: at ten million records each index is one more page
 * of random place written for every record. Whoever searches by the half compares the whole.
 */
import type { KeyRing } from '../base/keys.ts';
import type { RecordFacts } from '../model/record.ts';

/** A native key, as one source's lineage gave it. */
export interface NativeName {
  /** Shared by a source and the one it succeeds. */
  readonly lineage: string;
  readonly nativeKey: string;
}

const halfBytes = 8;

export function nativeOf(keys: KeyRing, { lineage, nativeKey }: NativeName): Buffer {
  return keys.index('native', lineage, nativeKey);
}

export function versionOf(keys: KeyRing, lineage: string, versionKey: string | undefined): Buffer | null {
  return versionKey === undefined ? null : keys.index('version', lineage, versionKey);
}

/**
 * A deletion that brings the very bytes it deletes (SS-MIX2 renames the file) is another record than their arrival
 * (docs/decisions/0009).
 */
export function ridOf(
  keys: KeyRing,
  native: Buffer,
  { lineage, nativeKey }: NativeName,
  { op, sha256 }: Pick<RecordFacts, 'op'> & { readonly sha256: string },
): Buffer {
  const whole = keys.index('record', lineage, nativeKey, sha256, ...(op === 'DEL' ? [op] : []));
  return Buffer.concat([native.subarray(0, halfBytes), whole.subarray(0, halfBytes)]);
}

/** The lowest and the highest `rid` a native key can have. */
export function ridsOf(native: Buffer): [from: Buffer, to: Buffer] {
  const from = Buffer.alloc(2 * halfBytes);
  const to = Buffer.alloc(2 * halfBytes, 0xff);
  for (const end of [from, to]) native.copy(end, 0, 0, halfBytes);
  return [from, to];
}
