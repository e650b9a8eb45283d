/**
 * A parcel's way to the producer over mutual TLS: beside curl, which sends the same bytes to the same intake, and beside
 * another receiver, which takes the same bytes from the same client.
 */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isoJst, systemClock } from '../../agent/base/clock.ts';
import { newSigningKey, type SigningKey, signJws } from '../../agent/base/jws.ts';
import { type Hello, jwsTypes, type ParcelStatement } from '../../agent/model/wire.ts';
import { facility, Hospital } from '../peers/hospital/hospital.ts';
import { ProductProcess } from '../peers/hospital/process.ts';
import { Child } from './child.ts';
import { alternately, type Bench, type Sample, type Scale } from './measure.ts';
import { linkTo } from './producer-link.ts';

const run = promisify(execFile);

const megabytes = { quick: 50, full: 1000 } as const;

const ledgerHead = { seq: 1, hash: 'ab'.repeat(32) };

interface Parcel {
  readonly path: string;
  readonly parcelId: string;
  readonly bytes: number;
  readonly statement: string;
}

export const uploads: Bench = {
  measures: [
    {
      name: 'upload-mtls',
      unit: 'MB/s',
      goal: { of: 'ratio', is: 'at least', value: 1 },
      peerName: 'curl to the same intake, one PATCH',
    },
    {
      name: 'intake-vs-tus',
      unit: 'MB/s',
      goal: { of: 'ratio', is: 'at least', value: 2 },
      peerName: '@tus/server and its file store, same client, neither hash nor sync',
    },
  ],
  round: async (scale) => {
    const hospital = await Hospital.create();
    try {
      return await uploaded(hospital, scale);
    } finally {
      await hospital.close();
    }
  },
};

async function uploaded(hospital: Hospital, scale: Scale): Promise<Record<string, Sample>> {
  const size = megabytes[scale.isQuick ? 'quick' : 'full'];
  const path = join(hospital.folder, 'sealed');
  const sha256 = await writeNoise(path, size);
  const intake = await startIntake(hospital);
  try {
    const url = `https://127.0.0.1:${intake.ready.port ?? 0}/`;
    const tls = join(hospital.folder, 'hospital', 'ldi');
    const key = newSigningKey();
    await sayHello(url, tls, key);
    let sequence = 0;
    const parcel = () => announced(key, { path, sha256, bytes: size * 1e6, sequence: ++sequence });
    const toIntake = () =>
      alternately(scale, {
        ours: async () => size / (await byUs({ url, tls, receiver: 'kakehashi' }, parcel())),
        peer: async () => size / (await byCurl(url, tls, parcel())),
      });
    const toTus = async () => size / (await intoTus(hospital, tls, parcel()));
    const to = await alternately(scale, { ours: toIntake, peer: toTus });
    return { 'upload-mtls': to.ours, 'intake-vs-tus': { ours: to.ours.ours, peer: to.peer } };
  } finally {
    await intake.kill();
    await rm(path);
  }
}

/** Without opening what arrives: that would be at work while the other side is measured. */
function startIntake({ producerKeys, data }: Hospital): Promise<ProductProcess> {
  const where = ['--dir', producerKeys, '--data', data, '--listen', '127.0.0.1:0'];
  return ProductProcess.start('producer', ['serve', ...where, '--reserve', '0', '--json']);
}

/** The digest, hex. Noise is what a sealed parcel is to everybody on the way. */
async function writeNoise(path: string, megabytes: number): Promise<string> {
  const digest = createHash('sha256');
  const file = await open(path, 'w');
  for (let written = 0; written < megabytes; written++) {
    const piece = randomBytes(1e6);
    digest.update(piece);
    await file.write(piece);
  }
  await file.sync();
  await file.close();
  return digest.digest('hex');
}

async function sayHello(url: string, tls: string, key: SigningKey): Promise<void> {
  const link = linkTo(url, tls);
  const at = isoJst(systemClock.now());
  const hello: Hello = {
    v: 1,
    agent: facility,
    epoch: 1,
    key: key.publicJwk,
    ledgerHead,
    software: 'kakehashi/bench',
    at,
  };
  await link.hello(signJws(key, jwsTypes.hello, hello));
  await link.close();
}

function announced(
  key: SigningKey,
  { path, ...sealed }: { path: string; sha256: string; bytes: number; sequence: number },
): Parcel {
  const statement: ParcelStatement = {
    v: 1,
    parcelId: `P-${randomBytes(8).toString('hex')}`,
    agent: facility,
    epoch: 1,
    lane: 'image',
    suite: 'age-v1',
    counts: { records: 1, subjects: 0 },
    registerVersion: 1,
    ledgerHead: { ...ledgerHead, seq: sealed.sequence + 1 },
    createdAt: isoJst(systemClock.now()),
    ...sealed,
  };
  const { parcelId, bytes } = statement;
  return { path, parcelId, bytes, statement: signJws(key, jwsTypes.parcel, statement) };
}

interface Receiver {
  readonly url: string;
  /** Folder of the hospital's own files for it. */
  readonly tls: string;
  readonly receiver: 'kakehashi' | 'tus';
}

/** Seconds. With the question where the producer stands, the announcement, and a request for each part. */
async function byUs({ url, tls, receiver }: Receiver, { path, parcelId, statement }: Parcel): Promise<number> {
  const child = Child.start('child-upload.ts', [url, tls, receiver, path, parcelId, statement]);
  try {
    return (await child.hear<{ seconds: number }>()).seconds;
  } finally {
    await child.close();
  }
}

/** Seconds, of the same client with the same parcel. */
async function intoTus({ producerKeys, folder }: Hospital, tls: string, parcel: Parcel): Promise<number> {
  const received = join(folder, 'received');
  await mkdir(received);
  const child = Child.start('child-tus.ts', [producerKeys, received]);
  try {
    const { port } = await child.hear<{ port: number }>();
    return await byUs({ url: `https://127.0.0.1:${port}/`, tls, receiver: 'tus' }, parcel);
  } finally {
    await child.close();
  }
}

/** Seconds of the body's request alone, by curl's own clock. */
async function byCurl(url: string, tls: string, { path, parcelId, bytes, statement }: Parcel): Promise<number> {
  const pem = (name: string) => join(tls, name);
  const identity = ['--cacert', pem('ca.pem'), '--cert', pem('client.pem'), '--key', pem('client.key')];
  const common = ['-sS', '--fail', '--tlsv1.3', ...identity, '-H', 'Tus-Resumable: 1.0.0'];
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const metadata = `parcelId ${base64(parcelId)},statement ${base64(statement)}`;
  const announce = ['-X', 'POST', '-H', `Upload-Length: ${bytes}`, '-H', `Upload-Metadata: ${metadata}`];
  await run('curl', [...common, ...announce, `${url}files/`]);
  const body = ['-H', 'Content-Type: application/offset+octet-stream', '-H', 'Upload-Offset: 0', '-H', 'Expect:'];
  const send = [...body, '-X', 'PATCH', '-T', path, '-w', '%{time_total}'];
  const { stdout } = await run('curl', [...common, ...send, `${url}files/${parcelId}`]);
  return Number(stdout);
}
