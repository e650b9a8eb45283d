/**
 * Takes the entries out of a parcel's plaintext into a folder nobody else looks at. Nothing here trusts the sender:
 * whoever holds the producer's public keys can write a file that decrypts.
 */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdDecompress } from 'node:zlib';
import { type Extract, extract as tarExtract, type Header } from 'tar-stream';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Lane } from '../model/record.ts';
import { parcelName, recordIdSchema, trailerNames } from './manifest.ts';

interface ExtractedEntry {
  readonly bytes: number;
  readonly sha256: string;
}

export interface Extraction {
  /** By what the bytes are, whatever the file was called. */
  readonly lane: Lane;
  readonly entries: ReadonlyMap<string, ExtractedEntry>;
}

interface ExtractOptions {
  readonly plain: AsyncIterable<Buffer>;
  readonly folder: string;
  readonly limits: { readonly plainBytes: number; readonly records: number };
  readonly signal: AbortSignal | undefined;
}

/** RFC 8878 3.1.1: the first four bytes of a zstd frame. No tar of ours begins so: names are hex. */
const zstdMagic = Buffer.from('28b52ffd', 'hex');

/** What `zstd -3` needs is 2 MiB; 8 MiB is what RFC 8878 3.1.1.1.2 asks every decoder to support. */
const zstdWindowLog = 23;

export async function extractEntries(options: ExtractOptions): Promise<Extraction> {
  const { first, all } = await peek(options.plain);
  const lane = first.subarray(0, zstdMagic.length).equals(zstdMagic) ? 'text' : 'image';
  const tar = tarExtract();
  const entries = new Map<string, ExtractedEntry>();
  const outcomes = await Promise.allSettled([feed(all, lane, tar, options), take(tar, entries, options)]);
  options.signal?.throwIfAborted();
  const failures = outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => explain(reason));
  // Each side fails when the other does; the one that knows why has a code.
  const failure = failures.find((error) => error instanceof ConnectorError) ?? failures[0];
  if (failure !== undefined) throw failure;
  if (!entries.has(parcelName)) throw tarInvalid('it ends before its last entry');
  return { lane, entries };
}

async function peek(plain: AsyncIterable<Buffer>): Promise<{ first: Buffer; all: AsyncIterable<Buffer> }> {
  const chunks = plain[Symbol.asyncIterator]();
  const { value = Buffer.alloc(0) } = (await chunks.next()) as IteratorResult<Buffer, undefined>;
  return { first: value, all: chain(value, { [Symbol.asyncIterator]: () => chunks }) };
}

async function* chain(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

/** Writes the tar into its reader. */
async function feed(
  plain: AsyncIterable<Buffer>,
  lane: Lane,
  tar: Extract,
  { limits, signal }: ExtractOptions,
): Promise<void> {
  const toTar = (chunks: AsyncIterable<Buffer>) => bounded(chunks, limits.plainBytes);
  const options = signal ? { signal } : {};
  if (lane === 'image') return pipeline(plain, toTar, tar, options);
  let compressedBytes = 0;
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      compressedBytes += chunk.length;
      yield chunk;
    }
  };
  const params = { [constants.ZSTD_d_windowLogMax]: zstdWindowLog };
  const zstd = createZstdDecompress({ chunkSize: 256 * 1024, params });
  await pipeline(plain, counted, zstd, toTar, tar, options);
  // Node stops quietly at the end of the last frame; `zstd -d` refuses what stands behind it, and so do we.
  if (zstd.bytesWritten !== compressedBytes) {
    throw new ConnectorError('PARCEL_COMPRESSION_INVALID', { problem: 'something stands behind its end' });
  }
}

async function* bounded(chunks: AsyncIterable<Buffer>, plainBytes: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > plainBytes) throw new ConnectorError('PARCEL_TOO_LARGE', { limit: plainBytes, unit: 'bytes' });
    yield chunk;
  }
}

async function take(tar: Extract, entries: Map<string, ExtractedEntry>, options: ExtractOptions): Promise<void> {
  for await (const entry of tar) {
    const name = admit(entry.header, entries);
    if (entries.size >= options.limits.records + trailerNames.length) {
      throw new ConnectorError('PARCEL_TOO_LARGE', { limit: options.limits.records, unit: 'records' });
    }
    entries.set(name, await store(entry, join(options.folder, name)));
  }
}

/** The only names there are: record ids, then the four of the trailer in their order. */
function admit(header: Header, entries: ReadonlyMap<string, ExtractedEntry>): string {
  const { name, type } = header;
  const refuse = (problem: string) => new ConnectorError('PARCEL_ENTRY_REFUSED', { entry: entries.size + 1, problem });
  if (type !== 'file') throw refuse('it is not a regular file');
  if (entries.has(name)) throw refuse('its name was there before');
  const expected = trailerNames.find((trailer) => !entries.has(trailer));
  if (name === expected) return name;
  if (expected === trailerNames[0] && recordIdSchema.safeParse(name).success) return name;
  throw refuse('its name is not one that may stand here');
}

async function store(entry: AsyncIterable<unknown>, path: string): Promise<ExtractedEntry> {
  const digest = createHash('sha256');
  const file = await open(path, 'wx', 0o600);
  let bytes = 0;
  try {
    for await (const chunk of entry) {
      assert(chunk instanceof Uint8Array);
      digest.update(chunk);
      await file.writeFile(chunk);
      bytes += chunk.length;
    }
  } finally {
    await file.close();
  }
  return { bytes, sha256: digest.digest('hex') };
}

/** Gives an error of a library its code. What is none of theirs is a bug of ours and stays as it is. */
function explain(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ConnectorError) return error;
  const code = 'code' in error ? String(error.code) : undefined;
  if ('syscall' in error) return new ConnectorError('PARCEL_UNWRITABLE', { reason: reasonOf(error) }, { cause: error });
  if (code?.startsWith('ZSTD_') === true || code === 'Z_BUF_ERROR') {
    return new ConnectorError('PARCEL_COMPRESSION_INVALID', { problem: code }, { cause: error });
  }
  // tar-stream throws plain errors with fixed sentences.
  return Object.getPrototypeOf(error) === Error.prototype ? tarInvalid(error.message, error) : error;
}

function tarInvalid(problem: string, cause?: unknown): ConnectorError {
  return new ConnectorError('PARCEL_TAR_INVALID', { problem }, { cause });
}
