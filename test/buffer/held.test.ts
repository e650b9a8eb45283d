import { afterEach, beforeEach, expect, it } from 'vitest';
import { addDays, startOfDayJst } from '../../agent/base/clock.ts';
import { expire } from '../../agent/flow/refresh.ts';
import { breaches, dayMs, Flow, record, today } from '../flow/harness.ts';

let flow: Flow;
beforeEach(() => {
  flow = new Flow();
  flow.filed();
});
afterEach(() => {
  expect(breaches(flow.store)).toEqual([]);
  flow.remove();
});

const tally = () => Object.fromEntries(flow.store.deliveries.heldTally().map(({ reason, n }) => [reason, n]));

it('counts what is held by its reason, and follows it from one reason to another and out', async () => {
  flow.told('1', { on: today });
  await flow.offer(record(), record({ patient: '2', key: 'HIS|2' }), record({ patient: '3', key: 'HIS|3' }));
  expect(tally()).toEqual({ waiting: 1, 'not-notified': 2 });
  flow.told('2', { on: today });
  await flow.refresh();
  expect(tally()).toEqual({ waiting: 2, 'not-notified': 1 });
  await flow.stop('3');
  expect(tally()).toEqual({ waiting: 2 });
  flow.time.at = startOfDayJst(addDays(today, 32));
  flow.fresh();
  await flow.refresh();
  expect(tally()).toEqual({});
});

it('knows the day the first of it is destroyed, until it is', async () => {
  expect(flow.store.deliveries.firstUntil()).toBeUndefined();
  const begun = flow.time.now();
  await flow.offer(record());
  flow.time.advanceDays(3);
  await flow.offer(record({ patient: '2', key: 'HIS|2' }));
  expect(flow.store.deliveries.firstUntil()).toBe(begun + 45 * dayMs);
  flow.time.at = begun + 45 * dayMs;
  const { count, after } = expire(flow.store, flow.time.now());
  await flow.finish(after);
  expect(count).toBe(1);
  expect(flow.store.deliveries.firstUntil()).toBe(begun + 48 * dayMs);
});
