import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { IdleCollector } from '../../agent/base/idle-collector.ts';

const MiB = 1024 * 1024;

/** Says how often was collected, after so many bytes more in so many seconds. */
function rig(): (bytes: number, seconds?: number) => number {
  let [allocated, at, collections] = [0, 0, 0];
  const collector = new IdleCollector({
    clock: { monotonic: () => at },
    allocated: () => allocated,
    collect: () => {
      collections += 1;
    },
  });
  return (bytes, seconds = 15) => {
    allocated += bytes;
    at += seconds * 1000;
    collector.look();
    return collections;
  };
}

it('collects once after work, not while it goes on, and not again for nothing', () => {
  const after = rig();
  expect(after(60 * MiB)).toBe(0);
  expect(after(60 * MiB)).toBe(0);
  expect(after(MiB)).toBe(1);
  expect(after(MiB)).toBe(1);
  expect(after(60 * MiB)).toBe(1);
  expect(after(0)).toBe(2);
});

it('takes no short pause for idleness, however often it looks', () => {
  const after = rig();
  expect(after(60 * MiB, 1)).toBe(0);
  expect([after(0, 1), after(0, 1), after(0, 1)]).toEqual([0, 0, 0]);
  expect([after(0, 15), after(0, 15)]).toEqual([0, 1]);
});

it('leaves alone what is not worth a pause', () => {
  const after = rig();
  after(60 * MiB);
  after(0);
  expect([after(20 * MiB), after(0)]).toEqual([1, 1]);
});

it('gives memory back by V8 itself', async () => {
  let at = 0;
  const collector = new IdleCollector({ clock: { monotonic: () => (at += 15_000) } });
  const held = new WeakRef({ of: 'nobody' });
  expect(Array.from({ length: 500_000 }, (_, number) => ({ number }))).toHaveLength(500_000);
  collector.look();
  // What a turn has looked at lives to its end.
  await setImmediate();
  collector.look();
  expect(held.deref()).toBeUndefined();
});
