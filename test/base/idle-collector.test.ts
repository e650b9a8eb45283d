import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { IdleCollector } from '../../agent/base/idle-collector.ts';

const MiB = 1024 * 1024;

function rig() {
  const rig = { allocated: 0, collections: 0 };
  const collector = new IdleCollector(
    () => {
      rig.collections++;
    },
    () => rig.allocated,
  );
  return { rig, after: (bytes: number) => ((rig.allocated += bytes), collector.look(), rig.collections) };
}

it('collects once after work, not while it goes on, and not again for nothing', () => {
  const { after } = rig();
  expect(after(60 * MiB)).toBe(0);
  expect(after(60 * MiB)).toBe(0);
  expect(after(MiB)).toBe(1);
  expect(after(MiB)).toBe(1);
  expect(after(60 * MiB)).toBe(1);
  expect(after(0)).toBe(2);
});

it('leaves alone what is not worth a pause', () => {
  const { after } = rig();
  after(60 * MiB);
  after(0);
  expect([after(10 * MiB), after(0)]).toEqual([1, 1]);
});

it('gives memory back by V8 itself', async () => {
  const collector = new IdleCollector();
  const held = new WeakRef({ of: 'nobody' });
  expect(Array.from({ length: 500_000 }, (_, number) => ({ number }))).toHaveLength(500_000);
  collector.look();
  // What a turn has looked at lives to its end.
  await setImmediate();
  collector.look();
  expect(held.deref()).toBeUndefined();
});
