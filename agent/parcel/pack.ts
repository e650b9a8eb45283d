/**
 * Packs records into one sealed file, in a single pass and in constant memory, apart from the index of the records.
 *
 * ```
 * image lane   payload entries, trailer  ->  tar  ->  age  ->  file
 * text lane    payload entries, trailer  ->  tar  ->  zstd -3  ->  age  ->  file
 * ```
 * Images do not get smaller (1.0x measured on what scanners compress already) and would cost a core.
 */
import assert from 'node:assert';
import { createHash, type Hash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, type ZstdOptions } from 'node:zlib';
import type { z } from 'zod';
import { DurableFile } from '../base/files.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Lane } from '../model/record.ts';
import { AgeWriter } from './age-writer.ts';
import { parcelLimits } from './limits.ts';
import {
  digestLine,
  digestsName,
  type ParcelFile,
  parcelJson,
  parcelName,
  type RecordLine,
  recordLine,
  recordSchema,
  recordsName,
  type SubjectLine,
  subjectLine,
  subjectSchemaOf,
  subjectsName,
  suite,
} from './manifest.ts';
import { tarEnd, tarHeader, tarPadding } from './tar.ts';

/** One record on its way into a parcel. `line.prefixBytes` is set from `prefix`. */
export interface ParcelEntry {
  readonly line: Omit<RecordLine, 'prefixBytes'>;
  readonly prefix?: Uint8Array;
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

export interface ParcelTrailer {
  readonly subjects: readonly SubjectLine[];
  /** What packing itself knows is filled in. */
  readonly parcel: Omit<ParcelFile, 'counts' | 'lane' | 'suite'>;
}

export interface PackOptions {
  /** Where the sealed file shall appear, whole or not at all. */
  readonly path: string;
  readonly lane: Lane;
  /** From `parseRecipients`. */
  readonly recipients: readonly string[];
  readonly entries: AsyncIterable<ParcelEntry> | Iterable<ParcelEntry>;
  /** Asked once, after the last payload. */
  readonly trailer: () => ParcelTrailer | Promise<ParcelTrailer>;
  readonly signal?: AbortSignal;
}

export interface PackedParcel {
  /** Of the sealed file. */
  readonly bytes: number;
  /** Hex, of the sealed file. */
  readonly sha256: string;
  readonly counts: { readonly records: number; readonly subjects: number };
  /** Of the payloads with their prefixes. */
  readonly payloadBytes: number;
}

/** Tar bytes gathered before they are compressed: a trip to the thread pool for each lab result would be felt. */
const batchBytes = 1024 * 1024;

/** A stream's options are passed on too, though the types do not say so. */
const zstdOptions: ZstdOptions & { readonly highWaterMark: number } = {
  chunkSize: 256 * 1024,
  // Room for the next batch while one is compressed: with less, tar and compressor would take turns.
  highWaterMark: 2 * batchBytes,
  params: { [constants.ZSTD_c_compressionLevel]: 3 },
};

/**
 * Resolves when the sealed file has survived a power cut. On an error, or when `signal` aborts, nothing is left.
 *
 * @throws ConnectorError PAYLOAD_MISMATCH - a body is not what its line says.
 * @throws ConnectorError PARCEL_LINE_INVALID - a line is not as the format says, and would be refused.
 * @throws ConnectorError PARCEL_OVERFULL, RECORD_TOO_LARGE - more than a parcel may hold; the closing rule is wrong.
 * @throws ConnectorError PARCEL_UNWRITABLE - the disk refused; nothing was announced to anyone.
 * @throws the reason of `signal`
 */
export async function packParcel(options: PackOptions): Promise<PackedParcel> {
  const file = await DurableFile.create(options.path).catch(unwritable);
  try {
    const age = await AgeWriter.start({ write: (chunk) => file.write(chunk).catch(unwritable) }, options.recipients);
    try {
      const tar = new ParcelTar(options);
      await through(options.lane, tar.bytes(), age);
      const sealed = await age.end();
      options.signal?.throwIfAborted();
      await file.commit().catch(unwritable);
      return { ...sealed, counts: tar.counts, payloadBytes: tar.payloadBytes };
    } finally {
      await age.close();
    }
  } catch (error) {
    await file.abandon();
    throw error;
  }
}

async function through(lane: Lane, tar: AsyncIterable<Uint8Array>, age: AgeWriter): Promise<void> {
  if (lane === 'image') return drain(tar, age);
  await pipeline(batches(tar), createZstdCompress(zstdOptions), (compressed: AsyncIterable<Uint8Array>) =>
    drain(compressed, age),
  );
}

async function drain(chunks: AsyncIterable<Uint8Array>, age: AgeWriter): Promise<void> {
  for await (const chunk of chunks) await age.write(chunk);
}

/** Copies into blocks of its own: the compressor reads them after the tar has gone on. */
async function* batches(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let batch = Buffer.allocUnsafe(batchBytes);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let offset = 0; offset < chunk.length; ) {
      const take = Math.min(batchBytes - filled, chunk.length - offset);
      batch.set(chunk.subarray(offset, offset + take), filled);
      filled += take;
      offset += take;
      if (filled < batchBytes) continue;
      yield batch;
      batch = Buffer.allocUnsafe(batchBytes);
      filled = 0;
    }
  }
  yield batch.subarray(0, filled);
}

/** The tar of a parcel as it is made, and what it learns about its entries on the way. */
class ParcelTar {
  readonly #options: PackOptions;
  readonly #records = new LineBlock(recordsName);
  readonly #digests = new LineBlock(digestsName);
  readonly #names = new Set<string>();
  #subjects = 0;
  payloadBytes = 0;

  constructor(options: PackOptions) {
    this.#options = options;
  }

  get counts(): { records: number; subjects: number } {
    return { records: this.#names.size, subjects: this.#subjects };
  }

  async *bytes(): AsyncGenerator<Uint8Array> {
    for await (const entry of this.#options.entries) yield* this.#payload(entry);
    const { subjects, parcel } = await this.#options.trailer();
    this.#options.signal?.throwIfAborted();
    yield* this.#lines(this.#records);
    const described = new LineBlock(subjectsName);
    for (const [index, subject] of subjects.entries()) {
      expectLine(subjectSchemaOf(subject), subject, { what: 'subject', ordinal: index + 1 });
      described.add(subjectLine(subject));
    }
    this.#subjects = subjects.length;
    yield* this.#lines(described);
    yield* this.#lines(this.#digests);
    const { lane } = this.#options;
    const facts = new LineBlock(parcelName);
    facts.add(parcelJson({ ...parcel, lane, suite, counts: this.counts }));
    yield* this.#lines(facts);
    yield tarEnd();
  }

  async *#payload({ line, prefix = new Uint8Array(0), body }: ParcelEntry): AsyncGenerator<Uint8Array> {
    this.#admit(line, prefix);
    const ordinal = this.#names.size;
    const written = prefix.length > 0 ? { ...line, prefixBytes: prefix.length } : line;
    expectLine(recordSchema, written, { what: 'record', ordinal });
    const entryBytes = prefix.length + line.bytes;
    yield tarHeader(line.recordId, entryBytes);
    if (prefix.length > 0) yield prefix;
    const digests = new PayloadDigests(prefix);
    let bytes = 0;
    for await (const chunk of body instanceof Uint8Array ? [body] : body) {
      this.#options.signal?.throwIfAborted();
      bytes += chunk.length;
      if (bytes > line.bytes) throw mismatch(ordinal, `has more than its ${line.bytes} bytes`);
      digests.update(chunk);
      yield chunk;
    }
    if (bytes < line.bytes) throw mismatch(ordinal, `has ${bytes} of its ${line.bytes} bytes`);
    const { entry, payload } = digests.end();
    if (payload !== line.sha256) throw mismatch(ordinal, 'has another digest');
    yield tarPadding(entryBytes);
    this.payloadBytes += entryBytes;
    this.#digests.add(digestLine(line.recordId, entry));
    this.#records.add(recordLine(written));
  }

  #admit({ recordId, bytes }: { recordId: string; bytes: number }, prefix: Uint8Array): void {
    assert(!this.#names.has(recordId), 'a record is packed once');
    if (prefix.length + bytes > parcelLimits.recordBytes) {
      throw new ConnectorError('RECORD_TOO_LARGE', { limitBytes: parcelLimits.recordBytes });
    }
    if (this.#names.size === parcelLimits.records) throw overfull('records', parcelLimits.records);
    this.#names.add(recordId);
  }

  async *#lines(block: LineBlock): AsyncGenerator<Uint8Array> {
    yield tarHeader(block.name, block.bytes);
    const digest = createHash('sha256');
    for (const piece of block.pieces()) {
      digest.update(piece);
      yield piece;
    }
    yield tarPadding(block.bytes);
    // The two that come after the digests were listed cannot be in the list.
    if (block.name !== digestsName && block.name !== parcelName) {
      this.#digests.add(digestLine(block.name, digest.digest('hex')));
    }
  }
}

/** Digest of an entry, and of the payload in it where a prefix makes them differ. */
class PayloadDigests {
  readonly #payload = createHash('sha256');
  readonly #entry: Hash | undefined;

  constructor(prefix: Uint8Array) {
    this.#entry = prefix.length > 0 ? createHash('sha256').update(prefix) : undefined;
  }

  update(chunk: Uint8Array): void {
    this.#payload.update(chunk);
    this.#entry?.update(chunk);
  }

  end(): { payload: string; entry: string } {
    const payload = this.#payload.digest('hex');
    return { payload, entry: this.#entry?.digest('hex') ?? payload };
  }
}

/** A text file that grows line by line; kept as bytes outside the JavaScript heap. */
class LineBlock {
  readonly name: string;
  readonly #pieces: Buffer[] = [];
  #pending = '';
  #bytes = 0;

  constructor(name: string) {
    this.name = name;
  }

  get bytes(): number {
    this.#pack();
    return this.#bytes;
  }

  add(line: string): void {
    this.#pending += line;
    if (this.#pending.length >= 64 * 1024) this.#pack();
  }

  pieces(): readonly Uint8Array[] {
    this.#pack();
    return this.#pieces;
  }

  #pack(): void {
    if (this.#pending === '') return;
    const piece = Buffer.from(this.#pending);
    this.#pending = '';
    this.#bytes += piece.length;
    this.#pieces.push(piece);
    if (this.#bytes > parcelLimits.indexBytes) throw overfull(`bytes of ${this.name}`, parcelLimits.indexBytes);
  }
}

/** Asked before anything is announced: the other side refuses a whole parcel for one line. */
function expectLine(schema: z.ZodType, line: object, at: { what: string; ordinal: number }): void {
  const parsed = schema.safeParse(line);
  if (parsed.success) return;
  throw new ConnectorError('PARCEL_LINE_INVALID', { ...at, field: parsed.error.issues[0]?.path.join('.') ?? '' });
}

function mismatch(ordinal: number, problem: string): ConnectorError {
  return new ConnectorError('PAYLOAD_MISMATCH', { ordinal, problem });
}

function overfull(unit: string, limit: number): ConnectorError {
  return new ConnectorError('PARCEL_OVERFULL', { limit, unit });
}

function unwritable(cause: unknown): never {
  throw new ConnectorError('PARCEL_UNWRITABLE', { reason: reasonOf(cause) }, { cause });
}
