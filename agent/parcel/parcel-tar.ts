/** The plaintext of a parcel: payload entries as they come, then the four files that say what they are. */
import assert from 'node:assert';
import { createHash, hash } from 'node:crypto';
import type { z } from 'zod';
import { ConnectorError } from '../model/errors.ts';
import type { Lane } from '../model/record.ts';
import { parcelLimits } from './limits.ts';
import { LineBlock } from './line-block.ts';
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
  /** A piece of a stream may be used for something else once the next one is asked for. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

export interface ParcelTrailer {
  readonly subjects: readonly SubjectLine[];
  /** What packing itself knows is filled in. */
  readonly parcel: Omit<ParcelFile, 'counts' | 'lane' | 'suite'>;
}

export interface TarOptions {
  readonly lane: Lane;
  readonly entries: AsyncIterable<ParcelEntry> | Iterable<ParcelEntry>;
  /** Asked once, after the last payload. */
  readonly trailer: () => ParcelTrailer | Promise<ParcelTrailer>;
  readonly signal?: AbortSignal;
}

/** Where plaintext goes. The bytes are copied; a promise is given only where there is something to wait for. */
export interface PlainSink {
  write(bytes: Uint8Array): Promise<void> | undefined;
}

const nothing = new Uint8Array(0);

/** What a payload's bytes are held against, and where they go. */
interface Destined {
  readonly line: ParcelEntry['line'];
  readonly prefix: Uint8Array;
  readonly sink: PlainSink;
}

/** Hex SHA-256: of the payload, and of the entry, which is the same where there is no prefix. */
interface Digests {
  readonly payload: string;
  readonly entry: string;
}

/** The tar of one parcel as it is made, and what it learns about its entries on the way. */
export class ParcelTar {
  readonly #options: TarOptions;
  readonly #records = new LineBlock(recordsName);
  readonly #digests = new LineBlock(digestsName);
  readonly #names = new Set<string>();
  #subjects = 0;
  payloadBytes = 0;

  constructor(options: TarOptions) {
    this.#options = options;
  }

  get counts(): { records: number; subjects: number } {
    return { records: this.#names.size, subjects: this.#subjects };
  }

  /** Once. */
  async writeTo(sink: PlainSink): Promise<void> {
    for await (const entry of this.#options.entries) await this.#payload(entry, sink);
    const { subjects, parcel } = await this.#options.trailer();
    this.#options.signal?.throwIfAborted();
    await this.#lines(this.#records, sink);
    const described = new LineBlock(subjectsName);
    for (const [index, subject] of subjects.entries()) {
      expectLine(subjectSchemaOf(subject), subject, { what: 'subject', ordinal: index + 1 });
      described.add(subjectLine(subject));
    }
    this.#subjects = subjects.length;
    await this.#lines(described, sink);
    await this.#lines(this.#digests, sink);
    const { lane } = this.#options;
    const facts = new LineBlock(parcelName);
    facts.add(parcelJson({ ...parcel, lane, suite, counts: this.counts }));
    await this.#lines(facts, sink);
    await sink.write(tarEnd());
  }

  async #payload({ line, prefix = nothing, body }: ParcelEntry, sink: PlainSink): Promise<void> {
    this.#options.signal?.throwIfAborted();
    this.#admit(line, prefix);
    const written = prefix.length > 0 ? { ...line, prefixBytes: prefix.length } : line;
    expectLine(recordSchema, written, { what: 'record', ordinal: this.#names.size });
    const entryBytes = prefix.length + line.bytes;
    await sink.write(tarHeader(line.recordId, entryBytes));
    await sink.write(prefix);
    const destined = { line, prefix, sink };
    const digests = await (body instanceof Uint8Array ? this.#whole(body, destined) : this.#stream(body, destined));
    if (digests.payload !== line.sha256) throw this.#mismatch('has another digest');
    await sink.write(tarPadding(entryBytes));
    this.payloadBytes += entryBytes;
    this.#digests.add(digestLine(line.recordId, digests.entry));
    this.#records.add(recordLine(written));
  }

  /** In memory, as nearly all are: no stream, and a digest in one call. */
  async #whole(body: Uint8Array, { line, prefix, sink }: Destined): Promise<Digests> {
    if (body.length !== line.bytes) throw this.#mismatch(`has ${body.length} bytes and not ${line.bytes}`);
    await sink.write(body);
    const payload = hash('sha256', body, 'hex');
    const entry = prefix.length > 0 ? createHash('sha256').update(prefix).update(body).digest('hex') : payload;
    return { payload, entry };
  }

  async #stream(body: AsyncIterable<Uint8Array>, { line, prefix, sink }: Destined): Promise<Digests> {
    const payload = createHash('sha256');
    const entry = prefix.length > 0 ? createHash('sha256').update(prefix) : undefined;
    let bytes = 0;
    for await (const chunk of body) {
      this.#options.signal?.throwIfAborted();
      bytes += chunk.length;
      if (bytes > line.bytes) throw this.#mismatch(`has more than its ${line.bytes} bytes`);
      payload.update(chunk);
      entry?.update(chunk);
      await sink.write(chunk);
    }
    if (bytes < line.bytes) throw this.#mismatch(`has ${bytes} of its ${line.bytes} bytes`);
    const digest = payload.digest('hex');
    return { payload: digest, entry: entry?.digest('hex') ?? digest };
  }

  #admit({ recordId, bytes }: { recordId: string; bytes: number }, prefix: Uint8Array): void {
    assert(!this.#names.has(recordId), 'a record is packed once');
    if (prefix.length + bytes > parcelLimits.recordBytes) {
      throw new ConnectorError('RECORD_TOO_LARGE', { limitBytes: parcelLimits.recordBytes });
    }
    if (this.#names.size === parcelLimits.records) {
      throw new ConnectorError('PARCEL_OVERFULL', { limit: parcelLimits.records, unit: 'records' });
    }
    this.#names.add(recordId);
  }

  async #lines(block: LineBlock, sink: PlainSink): Promise<void> {
    await sink.write(tarHeader(block.name, block.bytes));
    const digest = createHash('sha256');
    for (const piece of block.pieces()) {
      digest.update(piece);
      await sink.write(piece);
    }
    await sink.write(tarPadding(block.bytes));
    // The two that come after the digests were listed cannot be in the list.
    if (block.name !== digestsName && block.name !== parcelName) {
      this.#digests.add(digestLine(block.name, digest.digest('hex')));
    }
  }

  /** Of the record that is being written. */
  #mismatch(problem: string): ConnectorError {
    return new ConnectorError('PAYLOAD_MISMATCH', { ordinal: this.#names.size, problem });
  }
}

/** Asked before anything is announced: the other side refuses a whole parcel for one line. */
function expectLine(schema: z.ZodType, line: object, at: { what: string; ordinal: number }): void {
  const parsed = schema.safeParse(line);
  if (parsed.success) return;
  throw new ConnectorError('PARCEL_LINE_INVALID', { ...at, field: parsed.error.issues[0]?.path.join('.') ?? '' });
}
