/**
 * kill -9 of the real process, in the middle of parts and around the last byte. Nothing that was promised is lost: not
 * an offset a 204 or a HEAD told, not a receipt, not a tombstone; and nothing is receipted twice.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { newSigningKey } from '../../agent/base/jws.ts';
import { createClient } from '../../producer/keys/clients.ts';
import { deliverSample, imageEntry, type PackedSample, packSample, seriesUid, studyUid } from './parcels.ts';
import { recordIdOf } from '../parcel/record-line.ts';
import { ServeProcess } from './process.ts';
import { facility, Hospital, receiptOf, Rig, sha256 } from './rig.ts';

const kills = 24;
const partBytes = 200_000;
const seed = Number(process.env.KAKEHASHI_SEED ?? 20261123);

let rig: Rig;
let serving: ServeProcess | undefined;
let hospital: Hospital;

beforeEach(async () => {
  rig = await Rig.create();
  const folder = join(rig.folder, 'hospital');
  await createClient(rig.keys, { facility, now: systemClock.now(), out: folder });
  hospital = new Hospital(facility, { folder, key: newSigningKey(), port: () => serving?.port ?? 0 });
});
afterEach(async () => {
  await hospital.close();
  await serving?.kill();
  serving = undefined;
  await rig.close();
});

async function serve(): Promise<void> {
  serving = await ServeProcess.start({ keys: rig.keys, data: rig.data, args: ['--open'] });
}

async function kill(): Promise<void> {
  await serving?.kill();
  serving = undefined;
}

it(`keeps every promise through ${kills} kills (KAKEHASHI_SEED=${seed})`, async () => {
  const random = seeded(seed);
  const promises = new Promises();
  await serve();
  await hospital.hello();
  let upload: PackedSample | undefined;
  let index = 0;
  const delivered = new Map<string, Buffer>();
  for (let killed = 0; killed < kills; ) {
    if (!upload) {
      const pixels = randomBytes(400_000 + random(600_000));
      const entries = [imageEntry(++index, pixels)];
      upload = await packSample(hospital, { folder: rig.folder, entries, changes: { lane: 'image' } });
      delivered.set(upload.statement.parcelId, pixels);
    }
    const { parcelId } = upload.statement;
    const isKilled = random(3) > 0;
    const [isDone] = await Promise.all([
      step(upload, promises).catch(() => false),
      isKilled ? pause(random(30)).then(kill) : undefined,
    ]);
    if (isDone) upload = undefined;
    if (!isKilled) continue;
    killed += 1;
    await serve();
    await promises.check(hospital);
    // Now and then a parcel is given up instead, and that too is a promise.
    if (upload && random(6) === 0 && (await hospital.void(parcelId)).status === 204) {
      promises.voided(parcelId);
      delivered.delete(parcelId);
      upload = undefined;
    }
  }
  if (upload) await finish(upload, promises);
  await promises.check(hospital);
  const receipts = await allOpened(delivered.size);
  for (const [parcelId, pixels] of delivered) {
    const statuses = receipts.filter((receipt) => receipt.parcelId === parcelId).map(({ status }) => status);
    expect(statuses).toEqual(['stored', 'opened']);
    const [record] = await indexOf(parcelId);
    const image = await readFile(join(rig.data, 'opened', facility, parcelId, record?.file ?? ''));
    expect(sha256(image.subarray(-pixels.length))).toBe(sha256(pixels));
  }
}, 180_000);

it('ends in order on SIGTERM, in the middle of a part, and goes on afterwards', async () => {
  await serve();
  await hospital.hello();
  const whole = randomBytes(1000);
  const statement = hospital.statement(whole);
  await hospital.announce(statement);
  await hospital.patch(statement.parcelId, 0, whole.subarray(0, 300));
  const body = new PassThrough();
  body.write(whole.subarray(300, 400));
  const sending = hospital.patch(statement.parcelId, 300, body);
  while ((await hospital.patch(statement.parcelId, 300, Buffer.alloc(0))).status !== 423);
  const [exit] = await Promise.all([serving?.terminate(), expect(sending).rejects.toThrow()]);
  expect(exit).toBe(0);
  await serve();
  const offset = Number((await hospital.head(statement.parcelId)).headers['upload-offset']);
  expect(offset).toBeGreaterThanOrEqual(300);
  expect(await hospital.patch(statement.parcelId, offset, whole.subarray(offset))).toMatchObject({ status: 204 });
});

it('is not kept from starting by what a kill left in the middle of opening', async () => {
  await serve();
  await hospital.hello();
  const packed = await packSample(hospital, {
    folder: rig.folder,
    entries: [imageEntry(1, randomBytes(3_000_000))],
    changes: { lane: 'image' },
  });
  await deliverSample(hospital, packed);
  await kill();
  await serve();
  await allOpened(1);
  const [record] = await indexOf(packed.statement.parcelId);
  expect(record?.file).toBe(`studies/${studyUid}/${seriesUid}/${recordIdOf(1)}.dcm`);
});

/** One request of an upload, as an agent does it: HEAD first. True when all of it is there. */
async function step({ bytes, statement }: PackedSample, promises: Promises): Promise<boolean> {
  const { parcelId } = statement;
  const head = await hospital.head(parcelId);
  if (head.status === 404) {
    const created = await hospital.announce(statement);
    expect(created.status).toBe(201);
    promises.told(parcelId, 0);
    return false;
  }
  const offset = Number(head.headers['upload-offset']);
  promises.told(parcelId, offset);
  if (offset < bytes.length) {
    const answer = await hospital.patch(parcelId, offset, bytes.subarray(offset, offset + partBytes));
    expect(answer.status).toBe(204);
    promises.told(parcelId, Number(answer.headers['upload-offset']));
  }
  for (const jws of await hospital.receipts()) promises.receipted(jws);
  return (await hospital.head(parcelId)).headers['upload-offset'] === String(bytes.length);
}

async function finish(upload: PackedSample, promises: Promises): Promise<void> {
  for (let isDone = false; !isDone; ) isDone = await step(upload, promises);
}

/** All that the intake has ever said. */
class Promises {
  readonly #offsets = new Map<string, number>();
  readonly #receipts: string[] = [];
  readonly #voided = new Set<string>();

  told(parcelId: string, offset: number): void {
    this.#offsets.set(parcelId, Math.max(offset, this.#offsets.get(parcelId) ?? 0));
  }

  receipted(jws: string): void {
    if (!this.#receipts.includes(jws)) this.#receipts.push(jws);
  }

  voided(parcelId: string): void {
    this.#voided.add(parcelId);
    this.#offsets.delete(parcelId);
  }

  async check(by: Hospital): Promise<void> {
    for (const [parcelId, offset] of this.#offsets) {
      const { headers } = await by.head(parcelId);
      expect(Number(headers['upload-offset'])).toBeGreaterThanOrEqual(offset);
    }
    for (const parcelId of this.#voided) expect(await by.head(parcelId)).toMatchObject({ status: 410 });
    const receipts = await by.receipts();
    expect(receipts.slice(0, this.#receipts.length)).toEqual(this.#receipts);
    let previous: string | undefined;
    for (const [index, jws] of receipts.entries()) {
      const receipt = receiptOf(jws);
      expect(receipt.receiptSequence).toBe(index + 1);
      expect(receipt.previousReceipt).toBe(previous);
      previous = createHash('sha256').update(jws).digest('hex');
    }
  }
}

async function allOpened(count: number) {
  for (;;) {
    const receipts = (await hospital.receipts()).map(receiptOf);
    if (receipts.filter(({ status }) => status !== 'stored').length >= count) return receipts;
    await pause(20);
  }
}

async function indexOf(parcelId: string): Promise<{ file?: string }[]> {
  const index = await readFile(join(rig.data, 'opened', facility, parcelId, 'index.json'), 'utf8');
  return JSON.parse(index).records;
}

/** Mulberry32: the same choices for the same seed. */
function seeded(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
