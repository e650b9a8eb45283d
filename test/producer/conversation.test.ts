/** Hello, receipts, retractions and heartbeats: what both sides sign, and what the intake makes of it. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newSigningKey, peekJws, signJws } from '../../agent/base/jws.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { createClient } from '../../producer/keys/clients.ts';
import { facility, heartbeatBody, type Hospital, otherFacility, receiptOf, Rig, sha256 } from './rig.ts';

let rig: Rig;
let hospital: Hospital;

beforeEach(async () => {
  rig = await Rig.create();
  await rig.start();
  hospital = await rig.hospital(facility);
});
afterEach(() => rig.close());

describe('a hello', () => {
  it('is told the producer, and how far it has come', async () => {
    const first = await hospital.hello();
    expect(JSON.parse(first.text)).toEqual({ producer: 'ldi', epoch: 1, sequence: 0, receiptSequence: 0 });
    await hospital.deliver(randomBytes(10), { sequence: 4 });
    const second = JSON.parse((await hospital.hello()).text);
    expect(second).toMatchObject({ sequence: 4, receiptSequence: 1, ledgerHead: { hash: 'bb'.repeat(32) } });
  });

  it('pins its key: another one is refused from then on, and the first goes on', async () => {
    await hospital.hello();
    const imposter = await rig.hospital(facility);
    expect(await imposter.hello()).toMatchObject({ status: 403, code: 'KEY_MISMATCH' });
    expect(await hospital.hello()).toMatchObject({ status: 200 });
  });

  it('is held to the key that was registered beforehand', async () => {
    const key = newSigningKey();
    const out = join(rig.folder, 'registered');
    await createClient(rig.keys, { facility: otherFacility, now: Date.now(), out, agentKey: key.publicJwk });
    await rig.restart();
    const imposter = await rig.hospital(otherFacility, { folder: out });
    expect(await imposter.hello()).toMatchObject({ status: 403, code: 'KEY_MISMATCH' });
    const registered = await rig.hospital(otherFacility, { folder: out, key });
    expect(await registered.hello()).toMatchObject({ status: 200 });
  });

  it('of an older epoch is refused: a restored copy has replaced that agent', async () => {
    await hospital.hello({ epoch: 5 });
    expect(await hospital.hello({ epoch: 4 })).toMatchObject({ status: 409, code: 'EPOCH_OLD' });
    expect(await hospital.hello({ epoch: 5 })).toMatchObject({ status: 200 });
    expect(await hospital.hello({ epoch: 6 })).toMatchObject({ status: 200 });
  });

  it('tells a restored agent the ledger head that was witnessed, and not its own older one, however often it asks', async () => {
    await hospital.hello({ ledgerHead: { seq: 90, hash: 'cc'.repeat(32) } });
    const restored = { epoch: 2, ledgerHead: { seq: 40, hash: 'dd'.repeat(32) } };
    for (const _ of [1, 2]) {
      const { text } = await hospital.hello(restored);
      expect(JSON.parse(text)).toMatchObject({ ledgerHead: { seq: 90, hash: 'cc'.repeat(32) } });
    }
  });

  it('is refused when it names another hospital, or is signed by a key it does not carry', async () => {
    expect(await hospital.hello({ agent: otherFacility })).toMatchObject({ status: 403, code: 'AGENT_MISMATCH' });
    const other = newSigningKey().publicJwk;
    expect(await hospital.hello({ key: other })).toMatchObject({ status: 422, code: 'SIGNATURE_INVALID' });
    expect(await hospital.hello({ epoch: 'latest' })).toMatchObject({ status: 422, code: 'SIGNATURE_INVALID' });
    expect(await hospital.post('v1/hello', 'no jws at all')).toMatchObject({ status: 422 });
  });

  it('is refused under another media type', async () => {
    const answer = await hospital.ask({ method: 'POST', path: 'v1/hello', body: 'x' });
    expect(answer).toMatchObject({ status: 415, code: 'MEDIA_TYPE' });
  });
});

describe('the receipts', () => {
  it('are one chain a hospital, which an independent library verifies with the published keys', async () => {
    await hospital.hello();
    const other = await rig.hospital(otherFacility);
    await other.hello();
    for (const size of [10, 20, 30]) {
      await hospital.deliver(randomBytes(size));
      await other.deliver(randomBytes(size));
    }
    const jwks: JSONWebKeySet = JSON.parse(await readFile(join(hospital.folder, 'receipt.jwks'), 'utf8'));
    const keys = createLocalJWKSet(jwks);
    let previous: string | undefined;
    for (const [index, jws] of (await hospital.receipts()).entries()) {
      const { payload, protectedHeader } = await compactVerify(jws, keys, { algorithms: ['EdDSA'] });
      expect(protectedHeader.typ).toBe('kakehashi-receipt+jws');
      const receipt = JSON.parse(Buffer.from(payload).toString());
      expect(receipt).toMatchObject({ v: 1, agent: facility, producer: 'ldi', receiptSequence: index + 1 });
      expect(receipt.previousReceipt).toBe(previous);
      previous = sha256(jws);
    }
    expect(await hospital.receipts()).toHaveLength(3);
  });

  it('are the same text for ever, also after a restart', async () => {
    await hospital.hello();
    await hospital.deliver(randomBytes(10));
    const before = await hospital.receipts();
    await rig.restart();
    expect(await hospital.receipts()).toEqual(before);
  });

  it('come in pages of 500, and continue after the last one seen', async () => {
    await hospital.hello();
    for (let count = 0; count < 3; count++) await hospital.deliver(randomBytes(10));
    const after = await hospital.receipts(2);
    expect(after.map((jws) => receiptOf(jws).receiptSequence)).toEqual([3]);
    expect(await hospital.receipts(3)).toEqual([]);
    const odd = await hospital.ask({ method: 'GET', path: 'v1/receipts?after=-1' });
    expect(odd).toMatchObject({ status: 400, code: 'BAD_REQUEST' });
  });

  it('echo the ledger head of the parcel: the producer is its witness', async () => {
    await hospital.hello();
    const { ledgerHead } = await hospital.deliver(randomBytes(10));
    expect((await hospital.receipts()).map((jws) => receiptOf(jws).ledgerHead)).toEqual([ledgerHead]);
  });
});

describe('a retraction', () => {
  it('is kept as it was signed and answered with a signed receipt, the same each time', async () => {
    await hospital.hello();
    const jws = await hospital.retraction({ recordIds: ['ab'.repeat(16)] });
    const answer = await hospital.post('v1/retractions', jws);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/jose' } });
    const receipt = peekJws(answer.text);
    expect(receipt).toMatchObject({ v: 1, producer: 'ldi', agent: facility, sha256: sha256(jws) });
    await rig.restart();
    expect((await hospital.post('v1/retractions', jws)).text).toBe(answer.text);
    const id = String(Object(receipt).retractionId);
    const file = join(rig.data, 'retractions', facility, `${id}.jws`);
    expect(await readFile(file, 'utf8')).toBe(jws);
  });

  it('is refused when its id was used for something else', async () => {
    await hospital.hello();
    const once = await hospital.retraction({ recordIds: ['a'] }, { retractionId: 'R-1' });
    const twice = await hospital.retraction({ recordIds: ['b'] }, { retractionId: 'R-1' });
    await hospital.post('v1/retractions', once);
    expect(await hospital.post('v1/retractions', twice)).toMatchObject({ status: 409, code: 'RETRACTION_CHANGED' });
  });

  it('is refused from a stranger, for another hospital, in an old epoch, and with a path for an id', async () => {
    const early = await hospital.retraction({});
    expect(await hospital.post('v1/retractions', early)).toMatchObject({ status: 422, code: 'SIGNATURE_INVALID' });
    await hospital.hello({ epoch: 2 });
    const foreign = await hospital.retraction({}, { agent: otherFacility });
    expect(await hospital.post('v1/retractions', foreign)).toMatchObject({ status: 403, code: 'AGENT_MISMATCH' });
    const old = await hospital.retraction({}, { epoch: 1 });
    expect(await hospital.post('v1/retractions', old)).toMatchObject({ status: 409, code: 'EPOCH_OLD' });
    const path = await hospital.retraction({}, { epoch: 2, retractionId: '../../escape' });
    expect(await hospital.post('v1/retractions', path)).toMatchObject({ status: 422, code: 'SIGNATURE_INVALID' });
    expect(existsSync(join(rig.data, 'retractions'))).toBe(false);
  });
});

describe('a heartbeat', () => {
  beforeEach(() => hospital.hello());

  it('is taken once: the same again, and any before it, are refused', async () => {
    expect(await hospital.heartbeat(7)).toMatchObject({ status: 200 });
    expect(await hospital.heartbeat(7)).toMatchObject({ status: 409, code: 'SEQUENCE_OLD' });
    expect(await hospital.heartbeat(6)).toMatchObject({ status: 409, code: 'SEQUENCE_OLD' });
    await rig.restart();
    expect(await hospital.heartbeat(7)).toMatchObject({ status: 409 });
    expect(await hospital.heartbeat(9)).toMatchObject({ status: 200 });
  });

  it('is refused with a signature of another key, of another body or of another hospital', async () => {
    const invalid = { status: 400, code: 'HEARTBEAT_INVALID' };
    expect(await hospital.heartbeat(1, { key: newSigningKey() })).toMatchObject(invalid);
    expect(await hospital.heartbeat(1, { signed: { sha256: sha256('another body') } })).toMatchObject(invalid);
    const foreign = await hospital.heartbeat(1, { signed: { agent: otherFacility } });
    expect(foreign).toMatchObject({ status: 403, code: 'AGENT_MISMATCH' });
    expect(await hospital.heartbeat(1)).toMatchObject({ status: 200 });
  });

  it.each(['not json', '[]', '{"resourceMetrics":[]}', '{"resourceMetrics":[1]}'])(
    'is refused with the body %j',
    async (body) => {
      expect(await hospital.heartbeat(1, { body })).toMatchObject({ status: 400, code: 'HEARTBEAT_INVALID' });
    },
  );

  it('is refused without its signature, under another media type, and beyond its bound', async () => {
    const headers = { 'content-type': 'application/json' };
    const plain = { method: 'POST', path: 'v1/metrics', body: heartbeatBody('ok') } as const;
    expect(await hospital.ask({ ...plain, headers })).toMatchObject({ status: 400, code: 'HEARTBEAT_INVALID' });
    expect(await hospital.ask(plain)).toMatchObject({ status: 415 });
    const large = heartbeatBody('x'.repeat(300_000));
    expect(await hospital.heartbeat(1, { body: large })).toMatchObject({ status: 413, code: 'TOO_LARGE' });
  });

  it('with a statement of another kind as its signature is refused', async () => {
    const headers = {
      'content-type': 'application/json',
      'kakehashi-signature': signJws(hospital.key, jwsTypes.hello, { v: 1, agent: facility, seq: 1 }),
    };
    const answer = await hospital.ask({ method: 'POST', path: 'v1/metrics', headers, body: heartbeatBody('ok') });
    expect(answer).toMatchObject({ status: 400, code: 'HEARTBEAT_INVALID' });
  });
});
