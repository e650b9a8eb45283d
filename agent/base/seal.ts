/**
 * Encryption at rest.
 *
 * A **payload** has a random key of its own and is sealed in frames, so that a 2 GB image needs no more memory than a
 * lab result and a truncated file is noticed:
 *
 * ```
 * sealed  = frame* lastFrame            every frame but the last holds exactly 1 MiB of plain bytes
 * frame   = ciphertext || tag(16)       AES-256-GCM
 * nonce   = domain(1) || 0(6) || frame index(4, big endian) || last(1)
 * AAD     = seal id (16 random bytes, chosen before the first byte)
 * ```
 * The key is used for this one payload and its facts (another domain), so a counter nonce is safe. Swapping rows or
 * frames, cutting or lengthening are all refused by the tag.
 *
 * A **record** that lies in its row is sealed with its facts at one go, in a domain of its own: for a lab result the
 * second encryption would cost as much as the first.
 *
 * ```
 * record  = AES-256-GCM( facts length(4, big endian) || facts || payload ) || tag(16)
 * ```
 *
 * A **box** is a small value under a long-lived key: nonce(12 random) || ciphertext || tag(16), bound to a context word.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { ConnectorError } from '../model/errors.ts';
import { giveBack } from './memory.ts';

export const frameBytes = 1024 * 1024;
const tagBytes = 16;
const sealedFrameBytes = frameBytes + tagBytes;
const cipher = 'aes-256-gcm';

export const domains = { payload: 0, facts: 1, record: 2 } as const;

export interface SealKey {
  readonly key: Uint8Array;
  readonly sealId: Uint8Array;
}

export function newSealKey(): SealKey {
  return { key: pool.take(32), sealId: pool.take(16) };
}

/** Random bytes, asked of the kernel for many seals at once: a call for each cost as much as encrypting a lab result. */
class RandomPool {
  #bytes = Buffer.alloc(0);
  #from = 0;

  take(count: number): Buffer {
    if (this.#from + count > this.#bytes.length) {
      this.#bytes = randomBytes(randomBytesAtOnce);
      this.#from = 0;
    }
    this.#from += count;
    return this.#bytes.subarray(this.#from - count, this.#from);
  }
}

/** Enough for some seventy records; whoever holds one key holds this much memory. */
const randomBytesAtOnce = 4096;
const pool = new RandomPool();

/** Size of the sealed form of `plainBytes`. */
export function sealedBytes(plainBytes: number): number {
  return plainBytes + tagBytes * Math.max(1, Math.ceil(plainBytes / frameBytes));
}

/** Seals bytes held in memory. */
export function sealBytes(to: SealKey, plain: Uint8Array, domain: number = domains.payload): Buffer {
  if (plain.length <= frameBytes) return sealFrame(to, plain, domain, 0, true);
  const frames: Buffer[] = [];
  for (let offset = 0, index = 0; offset < plain.length; offset += frameBytes, index++) {
    const isLast = offset + frameBytes >= plain.length;
    frames.push(sealFrame(to, plain.subarray(offset, offset + frameBytes), domain, index, isLast));
  }
  return Buffer.concat(frames);
}

/** @throws ConnectorError SEAL_BROKEN */
export function openBytes(from: SealKey, sealed: Uint8Array, domain: number = domains.payload): Buffer {
  const frames: Buffer[] = [];
  const step = sealedFrameBytes;
  for (let offset = 0, index = 0; offset === 0 || offset < sealed.length; offset += step, index++) {
    const isLast = offset + step >= sealed.length;
    frames.push(openFrame(from, sealed.subarray(offset, offset + step), domain, index, isLast));
  }
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
}

export function sealRecord(to: SealKey, { facts, body }: PlainRecord): Buffer {
  const gcm = startSealing(to, nonceOf(domains.record, 0, true));
  const head = Buffer.allocUnsafe(4 + facts.length);
  head.writeUInt32BE(facts.length);
  head.set(facts, 4);
  const sealed = [gcm.update(head), gcm.update(body)];
  gcm.final();
  return Buffer.concat([...sealed, gcm.getAuthTag()]);
}

export interface PlainRecord {
  readonly facts: Uint8Array;
  readonly body: Uint8Array;
}

/** @throws ConnectorError SEAL_BROKEN */
export function openRecord(from: SealKey, sealed: Uint8Array): { readonly facts: Buffer; readonly body: Buffer } {
  const plain = openFrame(from, sealed, domains.record, 0, true);
  const bodyAt = 4 + plain.readUInt32BE();
  return { facts: plain.subarray(4, bodyAt), body: plain.subarray(bodyAt) };
}

/**
 * What sealing one stream takes: three frames. Lent again and again, because memory the system has to find for every
 * image anew costs more than encrypting it (measured: 0.5 ms a MiB against 0.1).
 */
export interface SealMemory {
  readonly plain: Buffer;
  /** Filled by turns. */
  readonly sealed: readonly [Buffer, Buffer];
}

export function newSealMemory(): SealMemory {
  const sealed = () => Buffer.allocUnsafeSlow(frameBytes + tagBytes);
  return { plain: Buffer.allocUnsafeSlow(frameBytes), sealed: [sealed(), sealed()] };
}

/**
 * Seals a stream: feed it chunks of any size, write out what it returns, in order. A frame it gave stays as it is until
 * the next but one is asked for, so that one may be on its way to the disk while the next is filled.
 */
export class FrameSealer {
  readonly #to: SealKey;
  readonly #memory: SealMemory;
  #filled = 0;
  #index = 0;

  constructor(to: SealKey, memory: SealMemory) {
    this.#to = to;
    this.#memory = memory;
  }

  /** The frames that `chunk` completes. The last full frame is kept back until it is known whether it is the last. */
  *push(chunk: Uint8Array): Generator<Buffer, void> {
    for (let offset = 0; offset < chunk.length; ) {
      if (this.#filled === frameBytes) yield this.#emit(false);
      const take = Math.min(frameBytes - this.#filled, chunk.length - offset);
      this.#memory.plain.set(chunk.subarray(offset, offset + take), this.#filled);
      this.#filled += take;
      offset += take;
    }
  }

  /** The last frame. */
  end(): Buffer {
    return this.#emit(true);
  }

  #emit(isLast: boolean): Buffer {
    const plain = this.#memory.plain.subarray(0, this.#filled);
    const into = this.#memory.sealed[this.#index % 2 === 0 ? 0 : 1];
    const frame = sealInto(into, this.#to, plain, this.#index++, isLast);
    this.#filled = 0;
    return frame;
  }
}

/**
 * OpenSSL is given pieces of this size: what it returns is then small enough for the allocator to have at hand, and is
 * given back at once instead of at the next collection.
 */
const sealPieceBytes = 64 * 1024;

function sealInto(into: Buffer, to: SealKey, plain: Buffer, index: number, isLast: boolean): Buffer {
  const gcm = startSealing(to, nonceOf(domains.payload, index, isLast));
  for (let at = 0; at < plain.length; at += sealPieceBytes) {
    const piece = gcm.update(plain.subarray(at, at + sealPieceBytes));
    into.set(piece, at);
    giveBack(piece);
  }
  gcm.final();
  into.set(gcm.getAuthTag(), plain.length);
  return into.subarray(0, plain.length + tagBytes);
}

/** Opens a sealed stream (a spool file) frame by frame. @throws ConnectorError SEAL_BROKEN */
export async function* openStream(from: SealKey, sealed: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const frame = Buffer.allocUnsafe(sealedFrameBytes);
  let filled = 0;
  let index = 0;
  for await (const chunk of sealed) {
    for (let offset = 0; offset < chunk.length; ) {
      // Opened once a further byte is known, because the last one carries a flag.
      if (filled === frame.length) {
        yield openFrame(from, frame, domains.payload, index++, false);
        filled = 0;
      }
      const piece = chunk.subarray(offset, offset + frame.length - filled);
      frame.set(piece, filled);
      filled += piece.length;
      offset += piece.length;
    }
  }
  yield openFrame(from, frame.subarray(0, filled), domains.payload, index, true);
}

export function sealBox(key: Uint8Array, context: string, plain: Uint8Array): Buffer {
  const nonce = pool.take(12);
  const gcm = createCipheriv(cipher, key, nonce);
  gcm.setAAD(Buffer.from(context));
  const box = Buffer.allocUnsafe(nonce.length + plain.length + tagBytes);
  nonce.copy(box);
  gcm.update(plain).copy(box, nonce.length);
  gcm.final();
  gcm.getAuthTag().copy(box, nonce.length + plain.length);
  return box;
}

/** @throws ConnectorError SEAL_BROKEN */
export function openBox(key: Uint8Array, context: string, box: Uint8Array): Buffer {
  if (box.length < 12 + tagBytes) throw new ConnectorError('SEAL_BROKEN', { what: context });
  try {
    const gcm = createDecipheriv(cipher, key, box.subarray(0, 12));
    gcm.setAAD(Buffer.from(context));
    gcm.setAuthTag(box.subarray(-tagBytes));
    return Buffer.concat([gcm.update(box.subarray(12, -tagBytes)), gcm.final()]);
  } catch (cause) {
    throw new ConnectorError('SEAL_BROKEN', { what: context }, { cause });
  }
}

/** Of what has one frame, as nearly everything has: written once. */
const onlyFrame = Object.values(domains).map((domain) => makeNonce(domain, 0, true));

function nonceOf(domain: number, index: number, isLast: boolean): Buffer {
  return (index === 0 && isLast ? onlyFrame[domain] : undefined) ?? makeNonce(domain, index, isLast);
}

function makeNonce(domain: number, index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce[0] = domain;
  nonce.writeUInt32BE(index, 7);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function sealFrame(to: SealKey, plain: Uint8Array, domain: number, index: number, isLast: boolean): Buffer {
  const gcm = startSealing(to, nonceOf(domain, index, isLast));
  const body = gcm.update(plain);
  gcm.final();
  return Buffer.concat([body, gcm.getAuthTag()]);
}

function startSealing({ key, sealId }: SealKey, nonce: Buffer) {
  const gcm = createCipheriv(cipher, key, nonce);
  gcm.setAAD(sealId);
  return gcm;
}

function openFrame(from: SealKey, frame: Uint8Array, domain: number, index: number, isLast: boolean): Buffer {
  if (frame.length < tagBytes) throw new ConnectorError('SEAL_BROKEN', { what: 'a payload cut short' });
  try {
    const gcm = createDecipheriv(cipher, from.key, nonceOf(domain, index, isLast));
    gcm.setAAD(from.sealId);
    gcm.setAuthTag(frame.subarray(-tagBytes));
    const plain = gcm.update(frame.subarray(0, -tagBytes));
    gcm.final();
    return plain;
  } catch (cause) {
    throw new ConnectorError('SEAL_BROKEN', { what: `frame ${index} of a payload` }, { cause });
  }
}
