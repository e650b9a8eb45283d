import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Db, openDatabase } from '../../agent/base/database.ts';
import { newSigningKey, verifyJws } from '../../agent/base/jws.ts';
import {
  Heartbeat,
  heartbeatMigration,
  type SendHeartbeat,
  type SignedHeartbeat,
  type Status,
} from '../../agent/health/index.ts';
import { encodeOtlp } from '../../agent/health/otlp.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import { dayMs, FakeClock, minuteMs, secondMs } from '../base/fake-clock.ts';
import { now, statusWith } from './sample-status.ts';

interface DataPoint {
  readonly attributes: { key: string; value: { stringValue: string } }[];
  readonly timeUnixNano: string;
  readonly asInt: string;
}

interface Exported {
  readonly resourceMetrics: {
    resource: { attributes: { key: string; value: { stringValue: string } }[] };
    scopeMetrics: {
      scope: { name: string };
      metrics: { name: string; unit: string; gauge: { dataPoints: DataPoint[] } }[];
    }[];
  }[];
}

const parse = (body: Buffer): Exported => JSON.parse(body.toString());

/** Every point as `name{key=value,…}` → number. */
function read(body: Buffer): Map<string, number> {
  const { resourceMetrics } = parse(body);
  const metrics = resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
  const points = metrics.flatMap(({ name, gauge }) =>
    gauge.dataPoints.map(({ attributes, asInt }): [string, number] => {
      const labels = attributes.map(({ key, value }) => `${key}=${value.stringValue}`).join(',');
      return [labels === '' ? name : `${name}{${labels}}`, Number(asInt)];
    }),
  );
  expect(new Set(points.map(([key]) => key)).size).toBe(points.length);
  return new Map(points);
}

const numbers = { sequence: 7, dropped: 0 };
const encoded = (status: Status) => read(encodeOtlp(status, numbers));

describe('what leaves the hospital', () => {
  it('is OTLP/HTTP JSON: long integers as text, one gauge a name, the time of the status', () => {
    const body = parse(encodeOtlp(statusWith(), numbers));
    const metrics = body.resourceMetrics[0]?.scopeMetrics[0]?.metrics ?? [];
    expect(new Set(metrics.map(({ name }) => name)).size).toBe(metrics.length);
    for (const { unit, gauge } of metrics) {
      expect(unit).not.toBe('');
      for (const { timeUnixNano, asInt } of gauge.dataPoints) {
        expect(timeUnixNano).toBe(`${now}000000`);
        expect(asInt).toMatch(/^-?\d+$/);
      }
    }
  });

  it('has the signals an operator watches', () => {
    const points = encoded(statusWith());
    expect(points.get('kakehashi.state{state=ok}')).toBe(1);
    expect(points.get('kakehashi.heartbeat.sequence')).toBe(7);
    expect(points.get('kakehashi.unsent.oldest_age')).toBe(7_200_000);
    expect(points.get('kakehashi.source.silence{index=0,kind=hl7v2}')).toBe(60_000);
    expect(points.get('kakehashi.certificate.days_left{index=0}')).toBe(90);
    expect(points.get(`kakehashi.ledger.head{sha256=${'ab'.repeat(32)}}`)).toBe(4_711);
    expect(points.get('kakehashi.job.missed{index=0}')).toBe(2);
    expect(encoded(statusWith({ quarantined: 1 })).get('kakehashi.advice{reason=quarantined}')).toBe(1);
  });

  it('tells numbers of records in tens, so that neither one person nor one more shows', () => {
    const points = encoded(statusWith());
    expect(points.get('kakehashi.deliveries{state=stopped}')).toBe(0);
    expect(points.get('kakehashi.deliveries{state=refused}')).toBe(10);
    expect(points.get('kakehashi.deliveries{state=opened}')).toBe(98_760);
    expect(points.get('kakehashi.gaps')).toBe(0);
    expect(points.get('kakehashi.source.queued{index=0,kind=hl7v2,lane=text}')).toBe(1_230);
    for (const quarantined of [0, 1, 9])
      expect(encoded(statusWith({ quarantined })).get('kakehashi.quarantined')).toBe(0);
  });

  it('REQ-TEL-1: has no byte of a patient that was put into any text it is made from', () => {
    const patient = fc.constantFrom(
      '架橋 太郎',
      'カケハシタロウ',
      'KAKEHASHI^TARO',
      '0001234567',
      '1.2.392.200036.9999',
      '../0001/00123',
    );
    const around = fc.string({ maxLength: 10 });
    const planted = fc
      .tuple(around, patient, around)
      .map(([before, name, after]) => ({ name, text: `${before}${name}${after}` }));
    fc.assert(
      fc.property(planted, ({ name, text }) => {
        const body = encodeOtlp(everywhere(statusWith({ quarantined: 3, isPaused: true }), text), numbers);
        for (const written of [name, JSON.stringify(name).slice(1, -1), encodeURIComponent(name)]) {
          expect(body.includes(written)).toBe(false);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('leaves out a value that is in none of its lists', () => {
    const status = statusWith();
    const copy: Status = JSON.parse(JSON.stringify({ ...status, version: '架橋' }).replaceAll('hl7v2', 'fax'));
    const points = [...encoded(copy).keys()];
    expect(points.filter((key) => key.startsWith('kakehashi.source'))).toEqual([]);
    expect(points.filter((key) => key.startsWith('kakehashi.build'))).toEqual([]);
  });

  it('stays below 1 MiB with more sources than any hospital has', () => {
    const [source] = statusWith().sources;
    const sources = Array.from({ length: 2_000 }, () => source ?? fail());
    const body = encodeOtlp({ ...statusWith(), sources }, numbers);
    expect(body.length).toBeLessThan(1024 * 1024);
    expect(read(body).has('kakehashi.source.silence{index=199,kind=hl7v2}')).toBe(true);
    expect(read(body).has('kakehashi.source.silence{index=200,kind=hl7v2}')).toBe(false);
  });
});

/** The same thing with every text in it replaced, and the keys of its counters, too. */
function everywhere<T>(value: T, text: string): T;
function everywhere(value: unknown, text: string): unknown {
  if (typeof value === 'string') return text;
  if (Array.isArray(value)) return value.map((each) => everywhere(each, text));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, each]) => [key, everywhere(each, text)] as const);
  return Object.fromEntries([...entries, [text, text], [`${text}1`, 5]]);
}

describe('the heartbeat', () => {
  const key = newSigningKey();
  let folder: string;
  let db: Db;
  let clock: FakeClock;
  let events: ConnectorEvent[];
  let sent: SignedHeartbeat[];
  let answer: SendHeartbeat;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'heartbeat-'));
    db = openDatabase(join(folder, 'state.db'), [heartbeatMigration]);
    clock = new FakeClock('2026-11-23T22:30:00+09:00');
    events = [];
    sent = [];
    answer = () => Promise.resolve('accepted');
  });

  afterEach(() => {
    db.close();
    rmSync(folder, { recursive: true });
  });

  const never = new AbortController().signal;
  const down = () =>
    Promise.reject(new ConnectorError('PRODUCER_REFUSED', { producer: 'ldi', reason: 'ECONNREFUSED' }));
  const make = () =>
    new Heartbeat({
      db,
      clock,
      report: (event) => void events.push(event),
      producer: 'ldi',
      agent: '1312345670',
      key,
      send: async (beat, signal) => {
        const result = await answer(beat, signal);
        sent.push(beat);
        return result;
      },
    });
  const sequences = () => sent.map(({ body }) => read(body).get('kakehashi.heartbeat.sequence'));

  it('is signed over its bytes, with its number, by the agent’s key', async () => {
    await make().beat(statusWith(), never);
    const [beat = fail()] = sent;
    expect(verifyJws([key.publicJwk], 'kakehashi-heartbeat+jws', beat.signature)).toEqual({
      v: 1,
      agent: '1312345670',
      seq: 1,
      sha256: createHash('sha256').update(beat.body).digest('hex'),
      at: '2026-11-23T22:30:00.000+09:00',
    });
  });

  it('goes on counting after a restart', async () => {
    await make().beat(statusWith(), never);
    await make().beat(statusWith(), never);
    expect(sequences()).toEqual([1, 2]);
  });

  it('keeps the last status of each five minutes while nobody answers, and sends them in order', async () => {
    const heartbeat = make();
    answer = down;
    for (let minute = 0; minute < 20; minute++) {
      await heartbeat.beat(statusWith({ recentCrashes: minute }), never);
      clock.freeze(minuteMs);
    }
    expect(heartbeat.queuedCount).toBe(4);
    answer = () => Promise.resolve('accepted');
    await heartbeat.beat(statusWith({ recentCrashes: 20 }), never);
    expect(sequences()).toEqual([1, 2, 3, 4, 5]);
    expect(sent.map(({ body }) => read(body).get('kakehashi.crashes.recent'))).toEqual([4, 9, 14, 19, 20]);
    expect(heartbeat.queuedCount).toBe(0);
  });

  it('tells that it fails once, and again only after it worked', async () => {
    const heartbeat = make();
    for (const works of [false, false, false, true, false]) {
      answer = works ? () => Promise.resolve('accepted') : down;
      await heartbeat.beat(statusWith(), never);
    }
    const failed = { name: 'heartbeat.failed', producer: 'ldi', code: 'PRODUCER_REFUSED' };
    expect(events).toEqual([failed, failed]);
  });

  it('throws away the oldest after seven days, and the number shows it', async () => {
    const heartbeat = make();
    answer = down;
    for (let slot = 0; slot < 2_020; slot++) {
      await heartbeat.beat(statusWith(), never);
      clock.freeze(5 * minuteMs);
    }
    expect(heartbeat.queuedCount).toBe((7 * dayMs) / (5 * minuteMs));
    answer = () => Promise.resolve('accepted');
    while (heartbeat.queuedCount > 0) await heartbeat.beat(statusWith(), never);
    // The round that begins the sending makes one more, and room for it.
    expect(sequences()[0]).toBe(6);
    expect(sequences().at(-1)).toBe(2_021);
    expect(read(sent.at(-1)?.body ?? fail()).get('kakehashi.heartbeat.dropped')).toBe(5);
  });

  it('sends a bounded number in one round', async () => {
    const heartbeat = make();
    answer = down;
    for (let slot = 0; slot < 250; slot++) {
      await heartbeat.beat(statusWith(), never);
      clock.freeze(5 * minuteMs);
    }
    answer = () => Promise.resolve('accepted');
    await heartbeat.beat(statusWith(), never);
    expect(sent).toHaveLength(100);
  });

  it('jumps over the numbers a producer has already seen', async () => {
    const heartbeat = make();
    answer = () => Promise.resolve('sequence-old');
    await heartbeat.beat(statusWith(), never);
    answer = () => Promise.resolve('accepted');
    clock.freeze(5 * minuteMs);
    await heartbeat.beat(statusWith(), never);
    expect(sequences()[1]).toBeGreaterThan(clock.now() / secondMs - 301);
  });

  it('goes on when the disk refuses to remember its number', async () => {
    const heartbeat = make();
    db.pragma('query_only = ON');
    await heartbeat.beat(statusWith(), never);
    clock.freeze(5 * minuteMs);
    await heartbeat.beat(statusWith(), never);
    db.pragma('query_only = OFF');
    expect(sequences()).toEqual([1, 2]);
    expect(events.map(({ code }) => code)).toContain('BUFFER_FAILED');
  });

  it('does not hide a defect in its sender', async () => {
    answer = () => Promise.reject(new TypeError('defect'));
    await expect(make().beat(statusWith(), never)).rejects.toThrow('defect');
  });
});

function fail(): never {
  throw new Error('there is none');
}
