/** The page a producer's operator looks at in the morning. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { openDatabase } from '../../agent/base/database.ts';
import type { Clock } from '../../agent/model/ports.ts';
import { conditions, type Hospital as FleetRow, readFleet } from '../../producer/fleet/fleet.ts';
import { readHeartbeat } from '../../producer/fleet/heartbeat.ts';
import { databaseFile, intakeMigration } from '../../producer/intake/schema.ts';
import { createClient } from '../../producer/keys/clients.ts';
import { deliverSample, packSample, textEntry } from './parcels.ts';
import { facility, heartbeatBody, type Hospital, otherFacility, Rig } from './rig.ts';

const minuteMs = 60_000;

let rig: Rig;
let hospital: Hospital;
let offsetMs = 0;
const clock: Clock = { ...systemClock, now: () => systemClock.now() + offsetMs };

beforeEach(async () => {
  offsetMs = 0;
  rig = await Rig.create();
  await rig.start({ clock });
  hospital = await rig.hospital(facility);
  await hospital.hello();
});
afterEach(() => rig.close());

/** While the intake is running, as an operator asks. */
function fleet(): FleetRow[] {
  const db = openDatabase(join(rig.data, databaseFile), [intakeMigration]);
  try {
    return readFleet(db, clock.now());
  } finally {
    db.close();
  }
}

const one = () => fleet().find((each) => each.facility === facility);

describe('the fleet', () => {
  it('shows a hospital that a certificate was issued for and that has never called', async () => {
    await createClient(rig.keys, { facility: otherFacility, now: systemClock.now(), out: join(rig.folder, 'late') });
    await rig.restart({ clock });
    expect(fleet()).toContainEqual(expect.objectContaining({ facility: otherFacility, condition: 'never-seen' }));
  });

  it('says what the agent says of itself, while it says so', async () => {
    await hospital.heartbeat(1, { body: heartbeatBody('attention', ['REGISTER_STALE']) });
    expect(one()).toMatchObject({
      condition: 'attention',
      state: 'attention',
      advice: ['REGISTER_STALE'],
      version: '0.1.0',
    });
    await hospital.heartbeat(2, { body: heartbeatBody('ok') });
    expect(one()).toMatchObject({ condition: 'ok', advice: [] });
  });

  it('calls a hospital silent a quarter of an hour after its last heartbeat, and not before', async () => {
    await hospital.heartbeat(1);
    offsetMs = 14 * minuteMs;
    expect(one()).toMatchObject({ condition: 'ok' });
    offsetMs = 16 * minuteMs;
    expect(one()).toMatchObject({ condition: 'silent', state: 'ok' });
  });

  it('calls a hospital silent that has said hello and nothing since', () => {
    expect(one()).toMatchObject({ condition: 'silent' });
  });

  it('counts the parcel numbers that never came, and none that was voided', async () => {
    await hospital.heartbeat(1);
    await hospital.deliver(randomBytes(10), { sequence: 1 });
    await hospital.deliver(randomBytes(10), { sequence: 4 });
    expect(one()).toMatchObject({ condition: 'gap', gaps: 2, sequence: 4 });
    const second = hospital.statement(randomBytes(10), { sequence: 2 });
    await hospital.announce(second);
    await hospital.void(second.parcelId);
    await hospital.void('P-never-announced');
    expect(one()).toMatchObject({ condition: 'ok', gaps: 0 });
  });

  it('shows a retraction that has not been acted on, and how old it is', async () => {
    await hospital.heartbeat(1);
    await hospital.post('v1/retractions', await hospital.retraction({}));
    offsetMs = 5 * minuteMs;
    expect(one()).toMatchObject({ condition: 'retraction-open', openRetractions: 1 });
    expect(one()?.oldestRetractionAgeMs).toBeGreaterThanOrEqual(5 * minuteMs);
  });

  it('shows a parcel that could not be opened, until a later one could', async () => {
    await rig.restart({ clock, isOpening: true });
    await hospital.heartbeat(1);
    await hospital.deliver(randomBytes(10));
    await rig.seen('parcel.rejected');
    expect(one()).toMatchObject({ condition: 'rejected', rejected: 1, waiting: 0 });
    const packed = await packSample(hospital, { folder: rig.folder, entries: [textEntry(1, 'MSH|架橋 太郎')] });
    await deliverSample(hospital, packed);
    await rig.seen('parcel.opened');
    expect(one()).toMatchObject({ condition: 'ok', rejected: 1 });
  });

  it('has the worst first, and the longest silent first among equals', async () => {
    const codes = ['1300000001', '1300000002', '1300000003'];
    for (const [index, code] of codes.entries()) {
      const each = await rig.hospital(code);
      await each.hello();
      offsetMs = index * 20 * minuteMs;
      await each.heartbeat(1);
    }
    await createClient(rig.keys, { facility: otherFacility, now: systemClock.now(), out: join(rig.folder, 'late') });
    await rig.restart({ clock });
    await hospital.heartbeat(1, { body: heartbeatBody('safe') });
    expect(fleet().map((each) => `${each.facility} ${each.condition}`)).toEqual([
      `${otherFacility} never-seen`,
      '1300000001 silent',
      '1300000002 silent',
      `${facility} safe`,
      '1300000003 ok',
    ]);
  });

  it('ranks every condition it can name', () => {
    expect(new Set(conditions).size).toBe(conditions.length);
  });
});

describe('a heartbeat', () => {
  it('of any JSON at all is read without harm', () => {
    fc.assert(
      fc.property(fc.json(), (body) => {
        expect(readHeartbeat(body).advice).toBeInstanceOf(Array);
      }),
    );
  });

  it('cannot put anything on the page but short plain words', () => {
    const words = fc.array(fc.string({ unit: 'binary' }), { maxLength: 3 });
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), words, (state, reasons) => {
        const facts = readHeartbeat(heartbeatBody(state, reasons));
        for (const word of [...facts.advice, facts.state ?? 'none']) expect(word).toMatch(/^[A-Za-z0-9._-]{1,40}$/);
      }),
    );
  });
});
