/** A parcel's way in. The invariant: what was promised (an offset, a receipt, a tombstone) stays true. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newSigningKey, signJws } from '../../agent/base/jws.ts';
import { jwsTypes } from '../../agent/model/wire.ts';
import { FileStore } from '../../producer/storage/file-store.ts';
import type { Appender, ParcelName } from '../../producer/storage/store.ts';
import { facility, type Hospital, otherFacility, receiptOf, Rig, sha256 } from './rig.ts';

let rig: Rig;
let hospital: Hospital;

beforeEach(async () => {
  rig = await Rig.create();
  await rig.start();
  hospital = await rig.hospital(facility);
  expect(await hospital.hello()).toMatchObject({ status: 200 });
});
afterEach(() => rig.close());

const stored = (parcelId: string) => join(rig.data, 'parcels', facility, `${parcelId}.age`);
const incoming = (parcelId: string) => join(rig.data, 'incoming', facility, parcelId);

describe('an upload', () => {
  it('is stored byte for byte, with its statement beside it, and receipted once', async () => {
    const bytes = randomBytes(3_000_001);
    const { parcelId } = await hospital.deliver(bytes);
    expect(sha256(await readFile(stored(parcelId)))).toBe(sha256(bytes));
    expect(existsSync(stored(parcelId).replace('.age', '.jws'))).toBe(true);
    const [jws = '', ...more] = await hospital.receipts();
    expect(more).toEqual([]);
    expect(receiptOf(jws)).toMatchObject({ status: 'stored', parcelId, sha256: sha256(bytes), bytes: 3_000_001 });
  });

  it('is announced at a path that ends in the id the client chose', async () => {
    const statement = hospital.statement(randomBytes(10));
    expect((await hospital.announce(statement)).headers.location).toBe(`/files/${statement.parcelId}`);
  });

  it('arrives whole in any parts at all, also when the intake is restarted between two of them', async () => {
    const parts = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 90_000 }), restart: fc.boolean() }), {
      minLength: 1,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(parts, async (plan) => {
        const whole = randomBytes(plan.reduce((sum, { bytes }) => sum + bytes, 0));
        const statement = hospital.statement(whole);
        await hospital.announce(statement);
        let offset = 0;
        for (const { bytes, restart } of plan) {
          const answer = await hospital.patch(statement.parcelId, offset, whole.subarray(offset, offset + bytes));
          offset += bytes;
          expect(answer).toMatchObject({ status: 204, headers: { 'upload-offset': String(offset) } });
          if (restart) await rig.restart();
        }
        expect(sha256(await readFile(stored(statement.parcelId)))).toBe(statement.sha256);
      }),
      { numRuns: 12 },
    );
  });

  it('goes on from what HEAD tells after the line was cut in the middle of a part', async () => {
    const whole = randomBytes(400_000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const body = new PassThrough();
    body.write(whole.subarray(0, 150_000));
    const cut = hospital.patch(statement.parcelId, 0, body);
    await isBeingWritten(statement.parcelId);
    body.destroy(new Error('the line was cut'));
    await expect(cut).rejects.toThrow();
    const offset = await settledOffset(statement.parcelId);
    expect(offset).toBeLessThanOrEqual(150_000);
    expect(await hospital.patch(statement.parcelId, offset, whole.subarray(offset))).toMatchObject({ status: 204 });
    expect(sha256(await readFile(stored(statement.parcelId)))).toBe(statement.sha256);
  });

  it('is not truncated by announcing it a second time', async () => {
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    await hospital.patch(statement.parcelId, 0, whole.subarray(0, 600));
    expect(await hospital.announce(statement)).toMatchObject({ status: 409, code: 'EXISTS' });
    expect((await hospital.head(statement.parcelId)).headers['upload-offset']).toBe('600');
  });

  it('can be found by HEAD when the 201 was lost', async () => {
    const statement = hospital.statement(randomBytes(1000));
    await hospital.announce(statement);
    const head = await hospital.head(statement.parcelId);
    expect(head).toMatchObject({ status: 200, headers: { 'upload-offset': '0', 'upload-length': '1000' } });
  });

  it('answers an agent that lost the last 204 with the full offset, and issues no second receipt', async () => {
    const whole = randomBytes(1000);
    const statement = await hospital.deliver(whole);
    expect((await hospital.head(statement.parcelId)).headers['upload-offset']).toBe('1000');
    expect(await hospital.patch(statement.parcelId, 1000, Buffer.alloc(0))).toMatchObject({ status: 204 });
    const again = await hospital.patch(statement.parcelId, 0, whole);
    expect(again).toMatchObject({ status: 409, code: 'OFFSET_MISMATCH', headers: { 'upload-offset': '1000' } });
    expect(await hospital.receipts()).toHaveLength(1);
  });

  it('is discarded with 460 when the length is right and a bit is not, and can be sent again', async () => {
    const whole = randomBytes(100_000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const flipped = Buffer.from(whole);
    flipped[54_321] = (flipped[54_321] ?? 0) ^ 1;
    const refused = await hospital.patch(statement.parcelId, 0, flipped);
    expect(refused).toMatchObject({ status: 460, code: 'DIGEST_MISMATCH', headers: { 'upload-offset': '0' } });
    expect(await hospital.receipts()).toEqual([]);
    expect((await hospital.head(statement.parcelId)).headers['upload-offset']).toBe('0');
    expect(await hospital.patch(statement.parcelId, 0, whole)).toMatchObject({ status: 204 });
    expect(await hospital.receipts()).toHaveLength(1);
  });

  it('is discarded with 460 when it arrives shifted, as a stream read too early does', async () => {
    const whole = randomBytes(100_000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const shifted = Buffer.concat([whole.subarray(16), whole.subarray(0, 16)]);
    await hospital.patch(statement.parcelId, 0, shifted.subarray(0, 50_000));
    expect(await hospital.patch(statement.parcelId, 50_000, shifted.subarray(50_000))).toMatchObject({ status: 460 });
  });

  it('begins again when the file of a half-done upload is gone', async () => {
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    await hospital.patch(statement.parcelId, 0, whole.subarray(0, 600));
    await truncate(incoming(statement.parcelId), 100);
    const refused = await hospital.patch(statement.parcelId, 600, whole.subarray(600));
    expect(refused).toMatchObject({ status: 409, headers: { 'upload-offset': '0' } });
    expect(await hospital.patch(statement.parcelId, 0, whole)).toMatchObject({ status: 204 });
  });

  it('is written by one request at a time', async () => {
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const body = new PassThrough();
    body.write(whole.subarray(0, 10));
    const first = hospital.patch(statement.parcelId, 0, body);
    await isBeingWritten(statement.parcelId);
    expect(await hospital.patch(statement.parcelId, 0, whole)).toMatchObject({ status: 423, code: 'LOCKED' });
    body.end(whole.subarray(10));
    expect(await first).toMatchObject({ status: 204 });
  });

  it.each([
    ['at an offset it is not at', 5, Buffer.alloc(1), 409, 'OFFSET_MISMATCH'],
    ['beyond its length', 0, Buffer.alloc(11), 413, 'TOO_LARGE'],
  ])('refuses bytes %s', async (_, offset, body, status, code) => {
    const statement = hospital.statement(randomBytes(10));
    await hospital.announce(statement);
    expect(await hospital.patch(statement.parcelId, offset, body)).toMatchObject({ status, code });
    expect((await hospital.head(statement.parcelId)).headers['upload-offset']).toBe('0');
  });

  it('refuses what runs over its length without having said how long it is', async () => {
    const statement = hospital.statement(Buffer.from('0123456789'));
    await hospital.announce(statement);
    const body = Readable.from([Buffer.from('01234'), Buffer.alloc(50_000)], { objectMode: false });
    expect(await hospital.patch(statement.parcelId, 0, body)).toMatchObject({ status: 413, code: 'TOO_LARGE' });
    expect((await hospital.head(statement.parcelId)).headers['upload-offset']).toBe('5');
  });

  it('refuses a part without the tus version or the tus media type', async () => {
    const statement = hospital.statement(randomBytes(10));
    await hospital.announce(statement);
    const path = `files/${statement.parcelId}`;
    const type = { 'content-type': 'application/offset+octet-stream' };
    const plain = { method: 'PATCH', path, body: randomBytes(10) } as const;
    expect(await hospital.ask({ ...plain, headers: { ...type, 'upload-offset': '0' } })).toMatchObject({ status: 412 });
    const untyped = { 'tus-resumable': '1.0.0', 'upload-offset': '0' };
    expect(await hospital.ask({ ...plain, headers: untyped })).toMatchObject({ status: 415 });
    const vague = { ...type, 'tus-resumable': '1.0.0', 'upload-offset': '-1' };
    expect(await hospital.ask({ ...plain, headers: vague })).toMatchObject({ status: 400 });
  });

  it('gives up a body that stops arriving, keeps what came, and frees the lock', async () => {
    await rig.restart({ limits: { bodyIdleMs: 200 } });
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const body = new PassThrough();
    body.write(whole.subarray(0, 300));
    expect(await hospital.patch(statement.parcelId, 0, body)).toMatchObject({ status: 408, code: 'BODY_TIMEOUT' });
    const offset = await settledOffset(statement.parcelId);
    expect(offset).toBe(300);
    expect(await hospital.patch(statement.parcelId, 300, whole.subarray(300))).toMatchObject({ status: 204 });
  });

  it('keeps checkpoints within one large part, so that a crash costs little', async () => {
    await rig.restart({ limits: { checkpointBytes: 100_000 } });
    const whole = randomBytes(1_000_000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    const body = new PassThrough();
    const sent = hospital.patch(statement.parcelId, 0, body);
    body.write(whole.subarray(0, 500_000));
    while (Number((await hospital.head(statement.parcelId)).headers['upload-offset']) < 300_000);
    body.end(whole.subarray(500_000));
    expect(await sent).toMatchObject({ status: 204 });
  });
});

describe('a void', () => {
  it('makes a tombstone that refuses the parcel for ever, also after a restart', async () => {
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    await hospital.patch(statement.parcelId, 0, whole.subarray(0, 500));
    expect(await hospital.void(statement.parcelId)).toMatchObject({
      status: 204,
      headers: { 'kakehashi-void': 'atomic' },
    });
    expect(existsSync(incoming(statement.parcelId))).toBe(false);
    await rig.restart();
    expect(await hospital.void(statement.parcelId)).toMatchObject({ status: 204 });
    expect(await hospital.head(statement.parcelId)).toMatchObject({ status: 410 });
    expect(await hospital.announce(statement)).toMatchObject({ status: 410, code: 'GONE' });
    const late = await hospital.patch(statement.parcelId, 500, whole.subarray(500));
    expect(late).toMatchObject({ status: 410, code: 'GONE' });
  });

  it('holds for an id that was never seen', async () => {
    const statement = hospital.statement(randomBytes(10));
    expect(await hospital.void(statement.parcelId)).toMatchObject({ status: 204 });
    expect(await hospital.announce(statement)).toMatchObject({ status: 410, code: 'GONE' });
  });

  it('comes too late for a stored parcel, and says so with the receipt', async () => {
    const { parcelId } = await hospital.deliver(randomBytes(10));
    const [receipt] = await hospital.receipts();
    expect(await hospital.void(parcelId)).toMatchObject({
      status: 409,
      text: receipt,
      headers: { 'kakehashi-void': 'atomic', 'content-type': 'application/jose' },
    });
    expect(existsSync(stored(parcelId))).toBe(true);
  });

  it('either wins against the last byte or loses to it, never both, whenever it comes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 40 }), async (turns) => {
        const whole = randomBytes(50_000);
        const statement = hospital.statement(whole);
        await hospital.announce(statement);
        const sending = hospital.patch(statement.parcelId, 0, whole).catch(() => ({ status: 0 }));
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
        const answer = await hospital.void(statement.parcelId);
        await sending;
        const receipts = (await hospital.receipts()).map(receiptOf);
        const isStored = receipts.some(({ parcelId }) => parcelId === statement.parcelId);
        expect(answer.status).toBe(isStored ? 409 : 204);
        expect((await hospital.head(statement.parcelId)).status).toBe(isStored ? 200 : 410);
        expect(existsSync(stored(statement.parcelId))).toBe(isStored);
      }),
      { numRuns: 40 },
    );
  });

  it('stops a part that is still being sent', async () => {
    const statement = hospital.statement(randomBytes(1000));
    await hospital.announce(statement);
    const body = new PassThrough();
    body.write(Buffer.alloc(10));
    const sending = hospital.patch(statement.parcelId, 0, body);
    await isBeingWritten(statement.parcelId);
    const [answer] = await Promise.all([hospital.void(statement.parcelId), expect(sending).rejects.toThrow()]);
    expect(answer).toMatchObject({ status: 204 });
    expect(existsSync(incoming(statement.parcelId))).toBe(false);
  });

  it('removes at the next start what a crash left of a voided parcel', async () => {
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    let isBroken = true;
    class StubbornStore extends FileStore {
      override remove(name: ParcelName): Promise<void> {
        return isBroken ? Promise.reject(new Error('the process died here')) : super.remove(name);
      }
    }
    await rig.restart({ store: new StubbornStore(rig.data) });
    await hospital.announce(statement);
    await hospital.patch(statement.parcelId, 0, whole.subarray(0, 500));
    expect(await hospital.void(statement.parcelId)).toMatchObject({ status: 500, code: 'INTERNAL' });
    expect(existsSync(incoming(statement.parcelId))).toBe(true);
    isBroken = false;
    await rig.restart();
    expect(existsSync(incoming(statement.parcelId))).toBe(false);
    expect(await hospital.head(statement.parcelId)).toMatchObject({ status: 410 });
  });
});

describe('a statement', () => {
  it('is refused before anyone has said hello', async () => {
    const stranger = await rig.hospital(otherFacility);
    const refused = await stranger.announce(stranger.statement(randomBytes(10)));
    expect(refused).toMatchObject({ status: 422, code: 'STATEMENT_NO_KEY' });
  });

  it('is refused when another key signed it', async () => {
    const statement = hospital.statement(randomBytes(10));
    const refused = await hospital.announce(statement, { key: newSigningKey() });
    expect(refused).toMatchObject({ status: 422, code: 'STATEMENT_SIGNATURE' });
    expect(await hospital.head(statement.parcelId)).toMatchObject({ status: 404 });
  });

  it('is refused when a field of it was altered after signing', async () => {
    const statement = hospital.statement(randomBytes(10));
    const [header, , signature] = signJws(hospital.key, jwsTypes.parcel, statement).split('.');
    const altered = Buffer.from(JSON.stringify({ ...statement, sequence: 7 })).toString('base64url');
    const refused = await hospital.announceJws(statement.parcelId, `${header}.${altered}.${signature}`, 10);
    expect(refused).toMatchObject({ status: 422, code: 'STATEMENT_SIGNATURE' });
  });

  it('is refused without the fields it must have', async () => {
    const { registerVersion: _, ...rest } = hospital.statement(randomBytes(10));
    const refused = await hospital.announceJws(rest.parcelId, signJws(hospital.key, jwsTypes.parcel, rest), 10);
    expect(refused).toMatchObject({ status: 422, code: 'STATEMENT_SHAPE' });
  });

  it('is refused when it is of another facility, another parcel or another length', async () => {
    const foreign = hospital.statement(randomBytes(10), { agent: otherFacility });
    expect(await hospital.announce(foreign)).toMatchObject({ status: 422, code: 'STATEMENT_MISMATCH' });
    const statement = hospital.statement(randomBytes(10));
    expect(await hospital.announce(statement, { length: 11 })).toMatchObject({ code: 'STATEMENT_MISMATCH' });
    const jws = signJws(hospital.key, jwsTypes.parcel, statement);
    expect(await hospital.announceJws('P-other', jws, 10)).toMatchObject({ code: 'STATEMENT_MISMATCH' });
  });

  it('is refused in a lower epoch than the agent is known to be in', async () => {
    hospital.epoch = 3;
    await hospital.hello();
    const refused = await hospital.announce(hospital.statement(randomBytes(10), { epoch: 2 }));
    expect(refused).toMatchObject({ status: 422, code: 'STATEMENT_EPOCH' });
  });

  it('is refused when another parcel has its sequence number, until that one is voided', async () => {
    const first = hospital.statement(randomBytes(10), { sequence: 5 });
    await hospital.announce(first);
    const second = hospital.statement(randomBytes(10), { sequence: 5 });
    expect(await hospital.announce(second)).toMatchObject({ status: 422, code: 'STATEMENT_SEQUENCE' });
    await hospital.void(first.parcelId);
    expect(await hospital.announce(second)).toMatchObject({ status: 201 });
  });

  it('is taken when numbers before it are missing, because parcels travel in parallel', async () => {
    expect(await hospital.announce(hospital.statement(randomBytes(10), { sequence: 9 }))).toMatchObject({
      status: 201,
    });
  });

  it.each(['../../etc/passwd', '.hidden', 'a/b', '-rf', 'a'.repeat(65), ''])(
    'is refused with the id %j',
    async (id) => {
      const statement = hospital.statement(randomBytes(10), { parcelId: id });
      const refused = await hospital.announce(statement);
      expect(refused).toMatchObject({ status: 400, code: 'BAD_REQUEST' });
    },
  );
});

describe('the bounds', () => {
  it('refuse a parcel larger than any there can be', async () => {
    await rig.restart({ limits: { parcelBytes: 100 } });
    const refused = await hospital.announce(hospital.statement(randomBytes(101)));
    expect(refused).toMatchObject({ status: 413, code: 'TOO_LARGE' });
  });

  it("refuse with 507 and Retry-After what does not fit a hospital's share", async () => {
    await rig.restart({ limits: { quotaBytes: 1500 } });
    await hospital.deliver(randomBytes(1000));
    const refused = await hospital.announce(hospital.statement(randomBytes(1000)));
    expect(refused).toMatchObject({ status: 507, code: 'QUOTA', headers: { 'retry-after': '600' } });
    const other = await rig.hospital(otherFacility);
    await other.hello();
    expect(await other.announce(other.statement(randomBytes(1000)))).toMatchObject({ status: 201 });
  });

  it('refuse more unfinished uploads than an agent has', async () => {
    await rig.restart({ limits: { unfinishedUploads: 2 } });
    await hospital.announce(hospital.statement(randomBytes(10)));
    await hospital.announce(hospital.statement(randomBytes(10)));
    expect(await hospital.announce(hospital.statement(randomBytes(10)))).toMatchObject({ code: 'QUOTA' });
  });

  it('refuse more ids than there can ever be, tombstones included', async () => {
    await rig.restart({ limits: { parcelRows: 2 } });
    await hospital.void('P-1');
    await hospital.void('P-2');
    expect(await hospital.void('P-3')).toMatchObject({ status: 507, code: 'QUOTA' });
    expect(await hospital.announce(hospital.statement(randomBytes(10)))).toMatchObject({ code: 'QUOTA' });
  });

  it('refuse to use up the reserve of the disk, before and during an upload', async () => {
    const statement = hospital.statement(randomBytes(10));
    await hospital.announce(statement);
    await rig.restart({ limits: { reserveBytes: Number.MAX_SAFE_INTEGER } });
    const refused = await hospital.announce(hospital.statement(randomBytes(10)));
    expect(refused).toMatchObject({ status: 507, code: 'FULL', headers: { 'retry-after': '600' } });
    expect(await hospital.patch(statement.parcelId, 0, randomBytes(10))).toMatchObject({ status: 507, code: 'FULL' });
  });

  it('answer 507 when the disk itself is full, and keep what was durable', async () => {
    let isFull = false;
    class FillingStore extends FileStore {
      override async append(name: ParcelName, offset: number): Promise<Appender> {
        const appender = await super.append(name, offset);
        if (!isFull) return appender;
        const sync = () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
        return { offset, write: (chunk) => appender.write(chunk), close: () => appender.close(), sync };
      }
    }
    await rig.restart({ store: new FillingStore(rig.data) });
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    await hospital.patch(statement.parcelId, 0, whole.subarray(0, 400));
    isFull = true;
    const refused = await hospital.patch(statement.parcelId, 400, whole.subarray(400, 800));
    expect(refused).toMatchObject({ status: 507, code: 'FULL', headers: { 'upload-offset': '400' } });
    isFull = false;
    expect(await hospital.patch(statement.parcelId, 400, whole.subarray(400))).toMatchObject({ status: 204 });
    expect(sha256(await readFile(stored(statement.parcelId)))).toBe(statement.sha256);
  });

  it('answer 500 to any other failure of the disk, and promise nothing', async () => {
    class DyingStore extends FileStore {
      override publish(): Promise<void> {
        return Promise.reject(Object.assign(new Error('broken'), { code: 'EIO' }));
      }
    }
    await rig.restart({ store: new DyingStore(rig.data) });
    const whole = randomBytes(1000);
    const statement = hospital.statement(whole);
    await hospital.announce(statement);
    expect(await hospital.patch(statement.parcelId, 0, whole)).toMatchObject({ status: 500, code: 'INTERNAL' });
    expect(rig.events).toContainEqual(
      expect.objectContaining({ name: 'intake.failed', code: 'INTAKE_FAILED', word: 'EIO' }),
    );
    expect(await hospital.receipts()).toEqual([]);
    await rig.restart();
    const offset = Number((await hospital.head(statement.parcelId)).headers['upload-offset']);
    expect(await hospital.patch(statement.parcelId, offset, whole.subarray(offset))).toMatchObject({ status: 204 });
  });
});

/** What HEAD tells once no request holds the upload any more. */
async function settledOffset(parcelId: string): Promise<number> {
  for (;;) {
    const offset = (await hospital.head(parcelId)).headers['upload-offset'];
    const probe = await hospital.patch(parcelId, Number(offset), Buffer.alloc(0));
    if (probe.status === 204) return Number(offset);
  }
}

/** Resolves when a request has begun to write the upload: its file is there. */
async function isBeingWritten(parcelId: string): Promise<void> {
  while (!existsSync(incoming(parcelId))) await new Promise(setImmediate);
}
