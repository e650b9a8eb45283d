import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addDays, startOfDayJst } from '../../agent/base/clock.ts';
import { recover } from '../../agent/flow/recover.ts';
import { expire, refresh } from '../../agent/flow/refresh.ts';
import { anon, breaches, dayMs, Flow, ldi, record, today } from './harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow();
  flow.filed();
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

const deliveryOf = (row: number) => flow.store.deliveries.get({ record: row, producer: flow.producer().id });
const sweep = async () => {
  const { count, after } = expire(flow.store, flow.time.now());
  await flow.finish(after);
  return count;
};

describe('refresh', () => {
  it('makes ready what was held when its waiting days are over, on the day and not before', async () => {
    flow.told('1', { on: today });
    const [result] = await flow.offer(record());
    flow.time.at = startOfDayJst(addDays(today, 32)) - 1;
    flow.fresh();
    expect(await flow.refresh()).toBe(0);
    flow.time.at += 1;
    expect(await flow.refresh()).toBe(1);
    expect(flow.states(result)).toEqual({ ldi: 'ready' });
  });

  it('holds again what was ready when a filing has ended, with its whole time before it', async () => {
    flow.told('1', { on: today });
    const [result] = await flow.offer(record());
    flow.time.advanceDays(40);
    flow.fresh();
    await flow.refresh();
    flow.time.advanceDays(30);
    flow.filed(ldi, ['image']);
    expect(await flow.refresh()).toBe(1);
    expect(await sweep()).toBe(0);
    expect(flow.states(result)).toEqual({ ldi: 'held' });
    expect(deliveryOf(1)?.until).toBe(flow.time.now() + 45 * dayMs);
  });

  it.each([
    ['the register is stale', () => flow.time.advanceDays(5)],
    ['the clock is not trusted', () => void (flow.time.isBelieved = false)],
  ])('moves nothing while %s', async (_, disturb) => {
    flow.told('1');
    const results = await flow.offer(record(), record({ patient: '2', key: 'HIS|2' }));
    disturb();
    const before = flow.store.db.prepare('SELECT * FROM delivery').all();
    expect(await flow.refresh()).toBe(0);
    expect(flow.store.db.prepare('SELECT * FROM delivery').all()).toEqual(before);
    expect(results.map((result) => flow.states(result)['ldi'])).toEqual(['ready', 'held']);
  });

  it('judges every row once they are more than a slice, and lets others in between', async () => {
    flow = flow.reopen({ producers: [ldi, anon] });
    const records = Array.from({ length: 1_300 }, (_, index) => record({ key: `HIS|${index}` }));
    await flow.offer(...records);
    flow.told('1');
    flow.store.db.exec("UPDATE delivery SET state = 'held', until = 1, reason = 'waiting' WHERE state = 'ready'");
    let pauses = 0;
    await refresh(flow.store, () => Promise.resolve(void pauses++), new AbortController().signal);
    expect(pauses).toBeGreaterThan(2);
    expect(flow.store.deliveries.tally().map(({ state, n }) => [state, n])).toEqual(
      expect.arrayContaining([
        ['ready', 1_300],
        ['held', 1_300],
      ]),
    );
  });

  it('ends when it is told to', async () => {
    await flow.offer(record());
    expect(await refresh(flow.store, () => Promise.resolve(), AbortSignal.abort())).toBe(0);
  });
});

describe('expire', () => {
  it('destroys what was held to its limit, with a ledger entry and a gap', async () => {
    const [result] = await flow.offer(record({ body: Buffer.alloc(300_000) }));
    flow.time.advanceDays(45);
    flow.time.at -= 1;
    expect(await sweep()).toBe(0);
    flow.time.at += 1;
    expect(await sweep()).toBe(1);
    expect(await sweep()).toBe(0);
    expect(flow.states(result)).toEqual({ ldi: 'expired' });
    expect(flow.isPresent(result)).toBe(false);
    expect(flow.store.memory.gaps(10)).toMatchObject([{ code: 'EXPIRED' }]);
    expect([...flow.store.ledger.entries()].at(-1)).toMatchObject({ kind: 'expired', body: { deliveries: 1 } });
  });

  it('leaves the payload to a producer that may have it', async () => {
    flow = flow.reopen({ producers: [ldi, anon] });
    flow.told('1');
    const [result] = await flow.offer(record());
    flow.time.advanceDays(46);
    expect(await sweep()).toBe(1);
    expect(flow.states(result)).toEqual({ ldi: 'ready', anon: 'expired' });
    expect(flow.isPresent(result)).toBe(true);
    expect(flow.store.memory.gapCount()).toBe(0);
  });

  it('leaves what a person has to decide about', async () => {
    flow.told('1');
    const [result] = await flow.offer(record());
    await flow.answered(await flow.sealed(), 'rejected');
    flow = flow.reopen({ producers: [ldi, anon] });
    await flow.offer(record());
    flow.store.db.exec("UPDATE delivery SET state = 'rejected' WHERE producer = 1");
    flow.time.advanceDays(46);
    await sweep();
    expect(flow.isPresent(result)).toBe(true);
  });
});

describe('recover', () => {
  it('finds nothing to do after an orderly stop', async () => {
    flow.told('1');
    await flow.offer(record(), record({ key: 'HIS|2', body: Buffer.alloc(300_000) }));
    await flow.sealed();
    flow = flow.reopen();
    expect(await recover(flow.store)).toEqual({ stops: 0, parcels: 0, files: 0 });
    expect(readdirSync(join(flow.folder, 'parcels'))).toHaveLength(1);
  });

  it('voids what was announced to nobody, and removes the files nobody needs', async () => {
    flow.told('1');
    const [result] = await flow.offer(record({ body: Buffer.alloc(300_000) }));
    await flow.packed();
    mkdirSync(join(flow.folder, 'spool', 'ab'), { recursive: true });
    const strays = [
      `spool/ab/${'ab'.repeat(16)}`,
      'spool/ab/x.part',
      'parcels/00000000.tar.zst.age',
      'parcels/y.age.part',
    ];
    for (const stray of strays) writeFileSync(join(flow.folder, stray), 'half');
    flow = flow.reopen();
    expect(await recover(flow.store)).toEqual({ stops: 0, parcels: 1, files: 5 });
    expect(strays.filter((stray) => existsSync(join(flow.folder, stray)))).toEqual([]);
    expect(flow.states(result)).toEqual({ ldi: 'ready' });
    expect((await flow.delivered()).sequence).toBe(1);
    expect(await recover(flow.store)).toEqual({ stops: 0, parcels: 0, files: 0 });
  });

  it('keeps the sealed file while the producer has not said what became of it', async () => {
    flow.told('1');
    await flow.offer(record());
    const parcel = await flow.sealed();
    await flow.stop('1');
    flow = flow.reopen();
    expect(await recover(flow.store)).toMatchObject({ files: 0 });
    expect(flow.parcel(parcel.id).state).toBe('voiding');
  });

  it('starts in a folder where nothing is yet', async () => {
    expect(await recover(flow.store)).toEqual({ stops: 0, parcels: 0, files: 0 });
  });
});
