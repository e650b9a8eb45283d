import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChaosProxy, ConnectProxy, seeded } from '../peers/producer/proxies.ts';
import { TusReceiver } from '../peers/producer/tus-receiver.ts';
import { MiB, Rig } from './rig.ts';

let rig: Rig;
let receiver: TusReceiver;
beforeEach(async () => {
  rig = await Rig.create();
  const folder = join(rig.folder, 'received');
  await mkdir(folder);
  receiver = rig.keep(await TusReceiver.start(rig.certificates, folder));
});
afterEach(() => rig.close());

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('against the unchanged @tus/server', () => {
  it('arrives byte for byte', async () => {
    const parcel = await rig.parcel(70 * MiB);
    const link = rig.link(receiver.url, { receiver: 'tus' });
    expect(await rig.upload(link, parcel)).toEqual({ kind: 'complete', sentBytes: parcel.bytes });
    expect(sha256(await readFile(receiver.path(parcel.parcelId)))).toBe(sha256(parcel.content));
  });

  it.each([1, 2])('arrives byte for byte over a line cut 40 times, seed %i', async (seed) => {
    const random = seeded(seed);
    const parcel = await rig.parcel(24 * MiB);
    const proxy = rig.keep(
      await ChaosProxy.start({ targetPort: receiver.port, cuts: 40, everyBytes: 256 * 1024, random }),
    );
    const link = rig.link(`https://localhost:${proxy.port}/`, { receiver: 'tus' });
    const result = await rig.upload(link, parcel);
    expect(result.kind, `seed ${seed}`).toBe('complete');
    expect(proxy.cutsDone, `seed ${seed}`).toBe(40);
    expect(link.partSize.bytes, `seed ${seed}`).toBeLessThan(64 * MiB);
    expect(sha256(await readFile(receiver.path(parcel.parcelId))), `seed ${seed}`).toBe(sha256(parcel.content));
  });

  it('a second announcement does not truncate what is stored', async () => {
    const parcel = await rig.parcel(MiB);
    const link = rig.link(receiver.url, { receiver: 'tus' });
    await rig.upload(link, parcel);
    const line = link.openLine();
    const metadata = `parcelId ${Buffer.from(parcel.parcelId).toString('base64')}`;
    const headers = { 'tus-resumable': '1.0.0', 'upload-length': String(MiB), 'upload-metadata': metadata };
    const answer = await line.request({ method: 'POST', path: 'files/', headers });
    await line.cut();
    expect(answer.status).toBe(409);
    expect(await readFile(receiver.path(parcel.parcelId))).toEqual(parcel.content);
  });

  it('is asked for its health and its clock without our interface', async () => {
    const { producer, at } = await rig.link(receiver.url, { receiver: 'tus' }).health();
    expect(producer).toBe('ldi');
    expect(Math.abs(at - Date.now())).toBeLessThan(60_000);
  });

  it('deletes, but its 204 is not taken as proof that nothing was taken in', async () => {
    const parcel = await rig.parcel(1000);
    const link = rig.link(receiver.url, { receiver: 'tus' });
    await rig.upload(link, parcel);
    expect(await link.void(parcel.parcelId)).toEqual({ kind: 'void', atomic: false });
    expect(await link.void('never-announced')).toEqual({ kind: 'void', atomic: false });
  });

  it('arrives through a CONNECT proxy with a password', async () => {
    const proxy = rig.keep(await ConnectProxy.start({ credentials: 'kakehashi:secret' }));
    const parcel = await rig.parcel(5 * MiB);
    const link = rig.link(receiver.url, {
      receiver: 'tus',
      proxy: { url: proxy.url, username: 'kakehashi', password: 'secret' },
    });
    expect((await rig.upload(link, parcel)).kind).toBe('complete');
    expect(await readFile(receiver.path(parcel.parcelId))).toEqual(parcel.content);
    expect(new Set(proxy.asked)).toEqual(new Set([`localhost:${receiver.port}`]));
  });
});
