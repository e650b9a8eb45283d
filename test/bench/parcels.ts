/** Packing, encrypting, signing and syncing a parcel, beside the programs that do a part of that to the same bytes. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import type { Lane } from '../../agent/model/record.ts';
import { hl7, person } from '../peers/hospital/messages.ts';
import { Child } from './child.ts';
import { inFolder } from './folder.ts';
import { alternately, type Bench, type Sample, type Scale } from './measure.ts';
import { patientId } from './mllp-load.ts';

const run = promisify(execFile);

interface Packing {
  readonly lane: Lane;
  readonly bytes: { readonly quick: number; readonly full: number };
  readonly payloadBytes: number;
  readonly payloads: (bytes: number) => Iterable<Buffer>;
  /** How often they are packed, each time under other ids. */
  readonly times?: number;
  readonly peer: (paths: { in: string; out: string; recipients: readonly string[] }) => readonly string[];
}

interface Packed {
  readonly megabytesPerSecond: Required<Sample>;
  readonly peakMb: number;
}

const images: Packing = {
  lane: 'image',
  bytes: { quick: 50e6, full: 1e9 },
  payloadBytes: 50e6,
  payloads: noise,
  peer: (paths) => ['age', ...paths.recipients.flatMap((each) => ['-r', each]), '-o', paths.out, paths.in],
};

/** Ten times as much, for what it needs in memory, from an input that need not be as large. */
const tenfold: Packing = { ...images, times: 10 };

const texts: Packing = {
  lane: 'text',
  bytes: { quick: 5e6, full: 150e6 },
  // 150 MB in fewer records than a parcel may have. Cut where a report of that size would end, not where one does.
  payloadBytes: 4096,
  payloads: labResults,
  peer: (paths) => ['zstd', '-3', '-q', '-f', '-o', paths.out, paths.in],
};

export const parcels: readonly Bench[] = [
  {
    measures: [
      {
        name: 'image-parcel-1GB',
        unit: 'MB/s',
        goal: { of: 'ratio', is: 'at least', value: 0.75 },
        peerName: 'age CLI, same bytes and recipients, without fsync',
      },
      { name: 'image-parcel-rss', unit: 'MB, peak', goal: { of: 'ours', is: 'at most', value: 200 } },
    ],
    round: async (scale) => {
      const { megabytesPerSecond, peakMb } = await packing(images, scale);
      return { 'image-parcel-1GB': megabytesPerSecond, 'image-parcel-rss': { ours: peakMb } };
    },
  },
  {
    measures: [{ name: 'image-parcel-10GB-rss', unit: 'MB, peak', goal: { of: 'ours', is: 'at most', value: 200 } }],
    round: (scale) =>
      prepared(tenfold, scale, async (given) => {
        const { peakMb } = await packed(tenfold, given);
        return { 'image-parcel-10GB-rss': { ours: peakMb } };
      }),
  },
  {
    measures: [
      {
        name: 'text-parcel',
        unit: 'MB/s',
        goal: { of: 'ratio', is: 'at least', value: 0.8 },
        peerName: 'zstd -3, same bytes, no encryption, no index',
      },
    ],
    round: async (scale) => ({ 'text-parcel': (await packing(texts, scale)).megabytesPerSecond }),
  },
];

/** What both sides of a round are given. */
interface Prepared {
  readonly folder: string;
  readonly payloads: string;
  readonly megabytes: number;
  readonly recipients: readonly string[];
}

function packing(what: Packing, scale: Scale): Promise<Packed> {
  return prepared(what, scale, async (given) => {
    let peakMb = 0;
    const ours = async () => {
      const done = await packed(what, given);
      peakMb = done.peakMb;
      return given.megabytes / done.seconds;
    };
    return { megabytesPerSecond: await alternately(scale, { ours, peer: () => byPeer(what, given) }), peakMb };
  });
}

function prepared<T>(what: Packing, scale: Scale, use: (given: Prepared) => Promise<T>): Promise<T> {
  return inFolder(async (folder) => {
    const payloads = join(folder, 'payloads');
    const content = Readable.from(what.payloads(what.bytes[scale.isQuick ? 'quick' : 'full']));
    // On the disk before anything is timed, so that nobody shares it with the writing of their own input.
    await pipeline(content, createWriteStream(payloads, { flush: true }));
    const megabytes = (await stat(payloads)).size / 1e6;
    // As the producer's: one key in daily use, one for the day it is lost.
    const identities = [await generateX25519Identity(), await generateX25519Identity()];
    const recipients = await Promise.all(identities.map((identity) => identityToRecipient(identity)));
    return use({ folder, payloads, megabytes, recipients });
  });
}

/** Megabytes a second. */
async function byPeer(what: Packing, { folder, payloads, megabytes, recipients }: Prepared): Promise<number> {
  const out = join(folder, 'peer');
  const [command = '', ...args] = what.peer({ in: payloads, out, recipients });
  const startedAt = performance.now();
  await run(command, args);
  const tookMs = performance.now() - startedAt;
  // It does not sync, which is its advantage, and must not become our burden when we come second.
  await synced(out);
  return (megabytes * 1000) / tookMs;
}

async function synced(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.sync();
  await file.close();
}

async function packed(
  { lane, payloadBytes, times = 1 }: Packing,
  { folder, payloads, recipients }: Prepared,
): Promise<{ seconds: number; peakMb: number }> {
  const from = [lane, payloads, String(payloadBytes), String(times)];
  const child = Child.start('child-pack.ts', [...from, join(folder, 'ours'), ...recipients]);
  try {
    return await child.hear();
  } finally {
    await child.close();
  }
}

/** As compressed pixels are to a compressor. */
function* noise(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= 1e6) yield randomBytes(Math.min(left, 1e6));
}

/** Lab reports in which what differs in a real one differs: numbers, codes, values, times. */
function* labResults(bytes: number): Generator<Buffer> {
  const below = digits();
  for (let made = 0; made < bytes; ) {
    const segments = Array.from(
      { length: 60 },
      (_, index) =>
        `OBX|${index + 2}|NM|3B${below(400)}^検査${below(400)}^JC10||${below(3000) / 10}|mg/dL|${below(50)}-${below(200)}|N|||F|||20261123${below(10_000)}`,
    );
    const { bytes: report } = hl7({ controlId: String(below(1e9)), person: person(patientId), segments });
    made += report.length;
    yield report;
  }
}

/** The same numbers every time, and not again within what a compressor remembers: xorshift32 (Marsaglia, 2003). */
function digits(): (below: number) => number {
  let state = 2_463_534_242;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
