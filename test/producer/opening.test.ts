/** What becomes of a parcel after it was stored, in the background: opened, or rejected, once and for ever. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import type { Clock } from '../../agent/model/ports.ts';
import { facility, type Hospital, receiptOf, Rig } from './rig.ts';
import { deliverSample, imageEntry, packSample, seriesUid, studyUid, subjectLine, textEntry } from './parcels.ts';
import { recordIdOf } from '../parcel/record-line.ts';

let rig: Rig;
let hospital: Hospital;

beforeEach(async () => {
  rig = await Rig.create();
  await rig.start({ isOpening: true });
  hospital = await rig.hospital(facility);
  await hospital.hello();
});
afterEach(() => rig.close());

const contents = (parcelId: string) => join(rig.data, 'opened', facility, parcelId);
const sample = (entries = [textEntry(1, 'MSH|架橋 太郎')]) => packSample(hospital, { folder: rig.folder, entries });
const receipts = async () => (await hospital.receipts()).map(receiptOf);

async function statusesOf(parcelId: string): Promise<string[]> {
  return (await receipts()).filter((receipt) => receipt.parcelId === parcelId).map(({ status }) => status);
}

describe('a stored parcel', () => {
  it('is opened, laid out for use, and receipted as opened with the number of its records', async () => {
    const pixels = randomBytes(70_000);
    const entries = [textEntry(1, 'MSH|架橋 太郎'), imageEntry(2, pixels)];
    const packed = await packSample(hospital, {
      folder: rig.folder,
      entries,
      subjects: [subjectLine(1, '架橋 太郎')],
      changes: { lane: 'image' },
    });
    await deliverSample(hospital, packed);
    await rig.seen('parcel.opened');
    const { parcelId } = packed.statement;
    expect(await receipts()).toMatchObject([
      { status: 'stored', parcelId, receiptSequence: 1 },
      { status: 'opened', parcelId, receiptSequence: 2, entries: 2 },
    ]);
    const out = contents(parcelId);
    expect(await readFile(join(out, 'records', recordIdOf(1)), 'utf8')).toBe('MSH|架橋 太郎');
    const image = await readFile(join(out, 'studies', studyUid, seriesUid, `${recordIdOf(2)}.dcm`));
    expect(image).toEqual(Buffer.concat([Buffer.from('a Part 10 header'), pixels]));
    expect(await readFile(join(out, 'subjects.ndjson'), 'utf8')).toContain('架橋 太郎');
  });

  it('that was sealed for somebody else is rejected, with a code and nothing more', async () => {
    const strangers = [await generateX25519Identity(), await generateX25519Identity()];
    const recipients = await Promise.all(strangers.map((identity) => identityToRecipient(identity)));
    const packed = await packSample(hospital, { folder: rig.folder, entries: [textEntry(1, 'x')], recipients });
    await deliverSample(hospital, packed);
    await rig.seen('parcel.rejected');
    expect(await receipts()).toMatchObject([{ status: 'stored' }, { status: 'rejected', reason: 'PARCEL_NOT_FOR_US' }]);
    expect(existsSync(contents(packed.statement.parcelId))).toBe(false);
  });

  it('that is no age file at all is rejected', async () => {
    await hospital.deliver(randomBytes(5000));
    await rig.seen('parcel.rejected');
    expect(await receipts()).toMatchObject([{}, { status: 'rejected', reason: 'PARCEL_NOT_AGE' }]);
  });

  it('whose inside says another sequence than was signed is rejected', async () => {
    const { bytes, statement } = await sample();
    await deliverSample(hospital, { bytes, statement: { ...statement, sequence: 77 } });
    await rig.seen('parcel.rejected');
    expect(await receipts()).toMatchObject([{}, { status: 'rejected', reason: 'PARCEL_STATEMENT_MISMATCH' }]);
  });

  it('does not hold up the next one by being rejected', async () => {
    await hospital.deliver(randomBytes(5000));
    const packed = await sample();
    await deliverSample(hospital, packed);
    await rig.seen('parcel.opened');
    expect(await statusesOf(packed.statement.parcelId)).toEqual(['stored', 'opened']);
  });

  it('waits while nothing is opened, and is opened once somebody does', async () => {
    await rig.restart({ isOpening: false });
    const packed = await sample();
    await deliverSample(hospital, packed);
    expect(await statusesOf(packed.statement.parcelId)).toEqual(['stored']);
    await rig.restart({ isOpening: true });
    await rig.seen('parcel.opened');
    expect(await statusesOf(packed.statement.parcelId)).toEqual(['stored', 'opened']);
    await rig.restart({ isOpening: true });
    expect(await statusesOf(packed.statement.parcelId)).toEqual(['stored', 'opened']);
  });

  it('is opened again when a crash left contents without a receipt, or half of them', async () => {
    await rig.restart({ isOpening: false });
    const packed = await sample();
    await deliverSample(hospital, packed);
    const out = contents(packed.statement.parcelId);
    for (const leftover of [out, `${out}.opening`]) {
      await mkdir(join(leftover, 'records'), { recursive: true });
      await writeFile(join(leftover, 'records', 'half'), 'of something');
    }
    await rig.restart({ isOpening: true });
    await rig.seen('parcel.opened');
    expect(await readdir(join(out, 'records'))).toEqual([recordIdOf(1)]);
    expect(await readdir(join(rig.data, 'opened', facility))).toEqual([packed.statement.parcelId]);
  });

  it('that keeps ending the process waits ever longer behind the others, is told of, and is never rejected', async () => {
    await rig.restart({ isOpening: false });
    const [stuck, next] = [await sample(), await sample()];
    await deliverSample(hospital, stuck);
    await deliverSample(hospital, next);
    await rig.stop();
    const db = new Database(join(rig.data, 'intake.sqlite'));
    const died = db.prepare('UPDATE parcel SET attempts = 14, attempted_at = ? WHERE parcel_id = ?');
    died.run(systemClock.now(), stuck.statement.parcelId);
    db.close();
    let offsetMs = 0;
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + offsetMs };
    await rig.start({ isOpening: true, clock });
    await rig.seen('parcel.opened');
    expect(await statusesOf(next.statement.parcelId)).toEqual(['stored', 'opened']);
    expect(await statusesOf(stuck.statement.parcelId)).toEqual(['stored']);
    offsetMs = 2 * 3_600_000;
    await rig.restart({ isOpening: true, clock });
    await rig.seen('parcel.opened', 2);
    expect(await statusesOf(stuck.statement.parcelId)).toEqual(['stored', 'opened']);
    expect(rig.events).toContainEqual(
      expect.objectContaining({
        code: 'PARCEL_OPEN_STUCK',
        parcel: stuck.statement.parcelId,
        numbers: { attempts: 14 },
      }),
    );
  });

  it('is not rejected for what the disk did, and waits for a better one', async () => {
    await rig.restart({ isOpening: false });
    const packed = await sample();
    await deliverSample(hospital, packed);
    await mkdir(join(rig.data, 'opened'), { recursive: true });
    await writeFile(join(rig.data, 'opened', facility), 'a file where a folder should be');
    await rig.restart({ isOpening: true });
    await rig.seen('intake.failed');
    expect(await statusesOf(packed.statement.parcelId)).toEqual(['stored']);
    await rm(join(rig.data, 'opened', facility));
    await rig.restart({ isOpening: true });
    await rig.seen('parcel.opened');
    expect(await statusesOf(packed.statement.parcelId)).toEqual(['stored', 'opened']);
  });

  it('whose file somebody took away does not hold up the others', async () => {
    await rig.restart({ isOpening: false });
    const [missing, present] = [await sample(), await sample()];
    await deliverSample(hospital, missing);
    await deliverSample(hospital, present);
    await rm(join(rig.data, 'parcels', facility, `${missing.statement.parcelId}.age`));
    await rig.restart({ isOpening: true });
    await rig.seen('parcel.opened');
    expect(await statusesOf(present.statement.parcelId)).toEqual(['stored', 'opened']);
    expect(await statusesOf(missing.statement.parcelId)).toEqual(['stored']);
  });

  it('cannot be opened here without an identity, and the intake says so before it opens its door', async () => {
    await rig.stop();
    for (const name of ['online.identity', 'recovery.identity']) await rm(join(rig.keys, name));
    await expect(rig.start({ isOpening: true })).rejects.toMatchObject({ code: 'PRODUCER_KEYS_UNUSABLE' });
  });
});

describe('a retraction, where parcels are opened', () => {
  const two = () =>
    packSample(hospital, {
      folder: rig.folder,
      entries: [textEntry(1, 'MSH|架橋 太郎'), textEntry(2, 'MSH|架橋 花子')],
      subjects: [subjectLine(1, '架橋 太郎'), subjectLine(2, '架橋 花子')],
    });

  it('takes what it names out of contents that were opened before, and marks it', async () => {
    const packed = await two();
    await deliverSample(hospital, packed);
    await rig.seen('parcel.opened');
    const { parcelId } = packed.statement;
    const jws = await hospital.retraction({ recordIds: [recordIdOf(1)], subjectIds: ['s-1'], parcelIds: [parcelId] });
    await hospital.post('v1/retractions', jws);
    await rig.seen('intake.retraction-applied');
    const out = contents(parcelId);
    expect(await readdir(join(out, 'records'))).toEqual([recordIdOf(2)]);
    const [subjects, records, index] = await Promise.all(
      ['subjects.ndjson', 'records.ndjson', 'index.json'].map((file) => readFile(join(out, file), 'utf8')),
    );
    expect(subjects).not.toContain('太郎');
    expect(subjects).toContain('花子');
    expect(records).not.toContain(recordIdOf(1));
    const { retracted, records: entries } = JSON.parse(index ?? '');
    expect(retracted).toBe(1);
    expect(entries).toContainEqual(
      expect.objectContaining({ recordId: recordIdOf(1), retracted: expect.stringMatching(/^R-/) }),
    );
  });

  it('leaves what it names out of a parcel that is opened only afterwards', async () => {
    await rig.restart({ isOpening: false });
    const packed = await two();
    await deliverSample(hospital, packed);
    await hospital.post(
      'v1/retractions',
      await hospital.retraction({ recordIds: [recordIdOf(1)], subjectIds: ['s-1'] }),
    );
    await rig.restart({ isOpening: true });
    await rig.seen('parcel.opened');
    const out = contents(packed.statement.parcelId);
    expect(await readdir(join(out, 'records'))).toEqual([recordIdOf(2)]);
    expect(await readFile(join(out, 'subjects.ndjson'), 'utf8')).not.toContain('太郎');
    // The hospital delivered two and both were verified: that is what its copy may be destroyed on.
    expect(await receipts()).toMatchObject([{}, { status: 'opened', entries: 2 }]);
  });

  it('does not touch what is delivered again after the patient has withdrawn the stop', async () => {
    await hospital.post('v1/retractions', await hospital.retraction({ recordIds: [recordIdOf(1)] }));
    await rig.seen('intake.retraction-applied');
    const later = { createdAt: '2026-12-24T22:00:00.000+09:00' };
    const entries = [textEntry(1, 'MSH|架橋 太郎')];
    const packed = await packSample(hospital, { folder: rig.folder, entries, changes: later });
    await deliverSample(hospital, packed);
    await rig.seen('parcel.opened');
    expect(await readdir(join(contents(packed.statement.parcelId), 'records'))).toEqual([recordIdOf(1)]);
  });

  it('that no identity here can read stays open, and holds nothing up', async () => {
    const unreadable = await hospital.retraction({}, { detail: Buffer.from('not an age file').toString('base64') });
    expect(await hospital.post('v1/retractions', unreadable)).toMatchObject({ status: 200 });
    await rig.seen('intake.failed');
    expect(rig.events).toContainEqual({ name: 'intake.failed', source: facility, code: 'RETRACTION_UNREADABLE' });
    const packed = await sample();
    await deliverSample(hospital, packed);
    await rig.seen('parcel.opened');
  });
});

describe('a receipt signed elsewhere', () => {
  const offline = () => join(rig.data, 'offline-receipts');

  it.each(['garbage', 'eyJhbGciOiJub25lIn0.e30.'])('that is not ours (%s) is set aside as refused', async (text) => {
    await rig.stop();
    await writeFile(join(offline(), 'x.jws'), text);
    await rig.start();
    expect(await readdir(offline())).toEqual(['x.jws.refused']);
  });

  it('of the `stored` kind does not become an `opened` one', async () => {
    await rig.restart({ isOpening: false });
    await hospital.deliver(randomBytes(10));
    const [stored = ''] = await hospital.receipts();
    await rig.stop();
    await writeFile(join(offline(), 'x.jws'), stored);
    await rig.start();
    expect(await readdir(offline())).toEqual(['x.jws.refused']);
    expect(await hospital.receipts()).toEqual([stored]);
  });
});

describe('without opening, a retraction', () => {
  it('is settled by a person who renames its file', async () => {
    await rig.restart({ isOpening: false });
    await hospital.post('v1/retractions', await hospital.retraction({}, { retractionId: 'R-1' }));
    const file = join(rig.data, 'retractions', facility, 'R-1.jws');
    await rename(file, `${file}.done`);
    await rig.restart({ isOpening: false });
    const db = new Database(join(rig.data, 'intake.sqlite'), { readonly: true });
    expect(db.prepare('SELECT applied FROM retraction').all()).toEqual([{ applied: 2 }]);
    db.close();
  });
});
