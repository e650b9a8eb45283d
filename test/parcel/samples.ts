import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { afterAll, beforeAll } from 'vitest';
import type { Lane } from '../../agent/model/record.ts';
import { type PackedParcel, packParcel, type ParcelEntry, type ParcelTrailer } from '../../agent/parcel/index.ts';
import { recordIdOf, recordLineOf } from './record-line.ts';

export interface Sample {
  readonly folder: string;
  /** Two pairs: the producer's online key and its recovery key. */
  readonly identities: readonly string[];
  readonly recipients: readonly string[];
}

/** A folder and keys for the tests of one file; the folder is removed behind them. */
export function useSample(): Sample {
  const sample = { folder: '', identities: [] as string[], recipients: [] as string[] };
  beforeAll(async () => {
    sample.folder = await mkdtemp(join(tmpdir(), 'kakehashi-parcel-'));
    sample.identities.push(await generateX25519Identity(), await generateX25519Identity());
    sample.recipients.push(...(await Promise.all(sample.identities.map((identity) => identityToRecipient(identity)))));
  });
  afterAll(() => rm(sample.folder, { recursive: true, force: true }));
  return sample;
}

export function entryOf(index: number, body: Uint8Array, changes: Partial<ParcelEntry> = {}): ParcelEntry {
  return { line: recordLineOf(index, { bytes: body.length, sha256: sha256(body) }), body, ...changes };
}

export const subject = {
  subjectId: 's-1',
  patientId: '0000012345',
  patientIdNormalized: '12345',
  recordId: recordIdOf(0),
  nameKanji: '架橋　太郎',
} as const;

export const trailer: ParcelTrailer = {
  subjects: [subject],
  parcel: {
    parcelId: '01KAKEHASHI0SAMPLE',
    agent: '1312345670',
    epoch: 1,
    sequence: 1,
    registerVersion: 3,
    ledgerHead: { seq: 5, hash: 'ab'.repeat(32) },
    createdAt: '2026-11-23T22:00:00.000+09:00',
    completeThrough: {},
    software: 'kakehashi/0.1.0',
  },
};

export function packBodies(
  sample: Sample,
  options: { path: string; lane: Lane; bodies: readonly Uint8Array[] },
): Promise<PackedParcel> {
  const entries = options.bodies.map((body, index) => entryOf(index, body));
  return packParcel({ ...options, recipients: sample.recipients, entries, trailer: () => trailer });
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Bytes without a pattern, so that neither a compressor nor a swapped chunk goes unnoticed. */
export function noise(bytes: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(bytes / 32) }, (_, index) =>
    createHash('sha256').update(`noise ${index}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, bytes);
}

/** What `act` throws; fails where it throws nothing. */
export function errorOf(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

const run = promisify(execFile);

/** Fails, rather than skipping, where one of the off-the-shelf tools is missing. */
export function needTools(...tools: readonly string[]): void {
  beforeAll(async () => {
    for (const tool of tools) {
      await run('sh', ['-c', `command -v ${tool}`]).catch(() => {
        throw new Error(
          `${tool} is not installed; \`apt-get install -y age zstd tar coreutils\` installs what these tests need`,
        );
      });
    }
  });
}

/** Runs a shell line in `cwd`; a failure anywhere in a pipe is a failure. */
export async function shell(cwd: string, line: string): Promise<string> {
  const { stdout } = await run('bash', ['-o', 'pipefail', '-e', '-c', line], { cwd });
  return stdout;
}
