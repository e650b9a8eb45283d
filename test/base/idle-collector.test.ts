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

it('gives memory back by V8 itself', () => {
  const collector = new IdleCollector();
  collector.look();
  const held = new WeakRef({ of: 'nobody' });
  let garbage: unknown[] = [];
  for (let count = 0; count < 2_000_000; count++) garbage.push({ count });
  garbage = [];
  collector.look();
  return new Promise((resolve) => setImmediate(resolve)).then(() => {
    collector.look();
    expect(held.deref()).toBeUndefined();
    expect(garbage).toEqual([]);
  });
});
