/** The hospital's own shipping code against the producer's own intake: the two halves of one contract. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { peekJws, signJws } from '../../agent/base/jws.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { ProducerLink } from '../../agent/ship/link.ts';
import { RateSchedule, Throttle } from '../../agent/ship/rate.ts';
import { type SealedParcel, upload } from '../../agent/ship/upload.ts';
import { facility, heartbeatBody, type Hospital, receiptOf, Rig, sha256 } from './rig.ts';

let rig: Rig;
let hospital: Hospital;
let link: ProducerLink;

beforeEach(async () => {
  rig = await Rig.create();
  await rig.start();
  hospital = await rig.hospital(facility);
  const file = (name: string) => join(hospital.folder, name);
  link = new ProducerLink({
    name: 'ldi',
    url: `https://127.0.0.1:${rig.port}/`,
    tls: { ca: file('ca.pem'), cert: file('client.pem'), key: file('client.key') },
    receiver: 'kakehashi',
    clock: systemClock,
    report: () => undefined,
  });
  await hospital.hello();
});
afterEach(async () => {
  await link.close();
  await rig.close();
});

async function sealed(bytes: Uint8Array): Promise<SealedParcel> {
  const statement = hospital.statement(bytes);
  const path = join(rig.folder, statement.parcelId);
  await writeFile(path, bytes);
  const jws = signJws(hospital.key, jwsTypes.parcel, statement);
  return { parcelId: statement.parcelId, path, bytes: bytes.length, statement: jws };
}

function send(parcel: SealedParcel) {
  const rate = new Throttle(RateSchedule.parse('unlimited'), systemClock);
  return upload(link, parcel, { permit: () => 'go', rate, signal: new AbortController().signal });
}

it('uploads a parcel, and finds it complete when it asks again', async () => {
  const bytes = randomBytes(5_000_000);
  const parcel = await sealed(bytes);
  expect(await send(parcel)).toEqual({ kind: 'complete', sentBytes: bytes.length });
  expect(await send(parcel)).toEqual({ kind: 'complete', sentBytes: 0 });
  const stored = await readFile(join(rig.data, 'parcels', facility, `${parcel.parcelId}.age`));
  expect(sha256(stored)).toBe(sha256(bytes));
  expect((await link.receipts(0)).map(receiptOf)).toMatchObject([{ status: 'stored', parcelId: parcel.parcelId }]);
});

it('is refused for good when its file is not what the statement says', async () => {
  const parcel = await sealed(randomBytes(1000));
  await writeFile(parcel.path, randomBytes(1000));
  expect(await send(parcel)).toMatchObject({ kind: 'refused', error: { code: 'PARCEL_DIGEST_REFUSED' } });
});

it('learns from a DELETE which of the two it was', async () => {
  expect(await link.void('P-never-sent')).toEqual({ kind: 'void', atomic: true });
  const parcel = await sealed(randomBytes(1000));
  await send(parcel);
  const [receipt] = await link.receipts(0);
  expect(await link.void(parcel.parcelId)).toEqual({ kind: 'stored', receipt });
});

it('says hello, retracts and sends heartbeats, each answered as it expects', async () => {
  const ledgerHead = { seq: 1, hash: 'aa'.repeat(32) };
  const at = '2026-11-23T22:00:00.000+09:00';
  const body = { v: 1, agent: facility, epoch: 1, key: hospital.key.publicJwk, ledgerHead, software: 'x', at };
  const { answer } = await link.hello(signJws(hospital.key, jwsTypes.hello, body));
  expect(answer).toMatchObject({ producer: 'ldi', ledgerHead });
  const older = signJws(hospital.key, jwsTypes.hello, { ...body, epoch: 0 });
  await expect(link.hello(older)).rejects.toMatchObject({ code: 'EPOCH_OLD' });
  const receipt = await link.retract(await hospital.retraction({ recordIds: ['ab'.repeat(16)] }));
  expect(peekJws(receipt)).toMatchObject({ agent: facility, producer: 'ldi' });
  const beat = heartbeatBody('ok');
  const signed = signJws(hospital.key, jwsTypes.heartbeat, { v: 1, agent: facility, seq: 1, sha256: sha256(beat), at });
  await link.sendMetrics(beat, signed);
  await expect(link.sendMetrics(beat, signed)).rejects.toMatchObject({ code: 'HEARTBEAT_OLD' });
});
