/**
 * The producer's answers, believed only when everything fits: the key pinned at enrolment, the names, the parcel we
 * made, and the chain of receipts before. Only after this may anything be settled, and nothing is ever settled because
 * an offset equals a length: bytes can arrive complete and wrong.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type PublicJwk, peekJws, verifyJws } from '../base/jws.ts';
import { ConnectorError, type ErrorCode, reasonOf } from '../model/errors.ts';
import { jwsTypes, type Receipt, type RetractionReceipt } from '../model/wire.ts';

export interface ExpectedParcel {
  readonly parcelId: string;
  readonly sequence: number;
  /** Hex, of the sealed file. */
  readonly sha256: string;
  readonly bytes: number;
}

export interface ExpectedReceipt {
  /** The producer's name and our facility code, as both ends write them. */
  readonly producer: string;
  readonly agent: string;
  /** The parcel with this id, if we ever published it to this producer. */
  readonly parcel: (parcelId: string) => ExpectedParcel | undefined;
  /** The receipt before; undefined when this must be the first. `digest`: `digestOf` its JWS. */
  readonly lastReceipt: { readonly sequence: number; readonly digest: string } | undefined;
}

export interface ExpectedRetractionReceipt {
  readonly producer: string;
  readonly agent: string;
  readonly retractionId: string;
  /** `digestOf` the retraction's JWS. */
  readonly sha256: string;
}

const hexDigest = z.string().regex(/^[0-9a-f]{64}$/);
const name = z.string().min(1).max(256);
const count = z.int().min(0);
const receiptShape = z.object({
  v: z.literal(1),
  status: z.enum(['stored', 'opened', 'rejected']),
  producer: name,
  agent: name,
  parcelId: name,
  sequence: z.int().min(1),
  sha256: hexDigest,
  bytes: count,
  receiptSequence: z.int().min(1),
  previousReceipt: hexDigest.exactOptional(),
  ledgerHead: z.object({ seq: count, hash: hexDigest }),
  at: z.iso.datetime({ offset: true }),
  entries: count.exactOptional(),
  reason: z
    .string()
    .regex(/^[A-Z0-9_-]{1,64}$/)
    .exactOptional(),
});
const retractionShape = z.object({
  v: z.literal(1),
  producer: name,
  agent: name,
  retractionId: name,
  sha256: hexDigest,
  at: z.iso.datetime({ offset: true }),
});

/** Hex SHA-256 of a JWS's text: how receipts and retractions are named by those that follow. */
export function digestOf(jws: string): string {
  return createHash('sha256').update(jws).digest('hex');
}

/**
 * @throws ConnectorError RECEIPT_MALFORMED, RECEIPT_WRONG_KEY, RECEIPT_NOT_OURS, RECEIPT_WRONG_SEQUENCE,
 * RECEIPT_WRONG_DIGEST, RECEIPT_CHAIN_BROKEN
 */
export function verifyReceipt(options: {
  readonly jws: string;
  readonly keys: readonly PublicJwk[];
  readonly expected: ExpectedReceipt;
}): Receipt {
  const { expected } = options;
  const receipt = read(options, jwsTypes.receipt, receiptShape);
  checkNames(receipt, expected);
  const parcel = expected.parcel(receipt.parcelId);
  if (!parcel) throw refused('RECEIPT_NOT_OURS', expected, { what: 'a parcel we never sent' });
  const { parcelId } = parcel;
  if (receipt.sequence !== parcel.sequence) throw refused('RECEIPT_WRONG_SEQUENCE', expected, { parcel: parcelId });
  if (receipt.sha256 !== parcel.sha256 || receipt.bytes !== parcel.bytes) {
    throw refused('RECEIPT_WRONG_DIGEST', expected, { what: `parcel ${parcelId}` });
  }
  const last = expected.lastReceipt;
  if (receipt.receiptSequence !== (last?.sequence ?? 0) + 1 || receipt.previousReceipt !== last?.digest) {
    throw refused('RECEIPT_CHAIN_BROKEN', expected, { number: receipt.receiptSequence, last: last?.sequence ?? 0 });
  }
  return receipt;
}

/** @throws ConnectorError RECEIPT_MALFORMED, RECEIPT_WRONG_KEY, RECEIPT_NOT_OURS, RECEIPT_WRONG_DIGEST */
export function verifyRetractionReceipt(options: {
  readonly jws: string;
  readonly keys: readonly PublicJwk[];
  readonly expected: ExpectedRetractionReceipt;
}): RetractionReceipt {
  const { expected } = options;
  const receipt = read(options, jwsTypes.retractionReceipt, retractionShape);
  checkNames(receipt, expected);
  if (receipt.retractionId !== expected.retractionId) {
    throw refused('RECEIPT_NOT_OURS', expected, { what: 'another retraction' });
  }
  if (receipt.sha256 !== expected.sha256) throw refused('RECEIPT_WRONG_DIGEST', expected, { what: 'the retraction' });
  return receipt;
}

/** Larger than any key set a person would keep. */
const keysMax = 32;
const keysCharsMax = 64 * 1024;
const jwksShape = z.object({
  keys: z
    .array(z.object({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: z.string().regex(/^[\w-]{43}$/) }))
    .min(1)
    .max(keysMax),
});

/**
 * The producer's receipt keys (`receiptKeys` in the configuration): a JWK set of Ed25519 keys, nothing else in it.
 *
 * @throws ConnectorError FILE_UNREADABLE, RECEIPT_KEYS_INVALID
 */
export async function readReceiptKeys(path: string): Promise<readonly PublicJwk[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
  const result = text.length <= keysCharsMax ? jwksShape.safeParse(parseJson(text)) : undefined;
  if (!result?.success) throw new ConnectorError('RECEIPT_KEYS_INVALID', { path });
  return result.data.keys;
}

function read<T>(
  { jws, keys, expected }: { jws: string; keys: readonly PublicJwk[]; expected: { producer: string } },
  typ: string,
  shape: z.ZodType<T>,
): T {
  // What cannot be read at all is told apart from what the wrong key signed: the first is a fault, the second an attack
  // or a rotation nobody announced.
  attempt('RECEIPT_MALFORMED', expected, () => peekJws(jws));
  const body = attempt('RECEIPT_WRONG_KEY', expected, () => verifyJws(keys, typ, jws));
  const result = shape.safeParse(body);
  if (result.success) return result.data;
  throw refused('RECEIPT_MALFORMED', expected, { reason: 'a field is missing or not of its kind' });
}

function attempt<T>(code: ErrorCode, { producer }: { producer: string }, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new ConnectorError(code, { producer, reason: reasonOf(cause) }, { cause });
  }
}

function checkNames(found: { producer: string; agent: string }, expected: { producer: string; agent: string }): void {
  if (found.producer !== expected.producer) throw refused('RECEIPT_NOT_OURS', expected, { what: 'another producer' });
  if (found.agent !== expected.agent) throw refused('RECEIPT_NOT_OURS', expected, { what: 'another hospital' });
}

function refused(code: ErrorCode, { producer }: { producer: string }, details: Record<string, string | number>) {
  return new ConnectorError(code, { producer, ...details });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
