import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../agent/base/database.ts';
import { DiskGuard, type DiskLimits } from '../../agent/health/index.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import { FakeClock, hourMs } from '../base/fake-clock.ts';

const MiB = 1024 * 1024;
const limits: DiskLimits = { fullFraction: 0.1, fullBytes: 2 * MiB, lowFraction: 0.25, reserveBytes: 4 * MiB };

let disk: string;
let events: ConnectorEvent[];
let clock: FakeClock;

beforeEach(() => {
  disk = mkdtempSync(join(tmpdir(), 'disk-'));
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', disk], { encoding: 'utf8' });
  if (status !== 0) {
    throw new Error(
      `These tests fill a real disk of 20 MiB and must mount one: run them as root, in a container started with --cap-add SYS_ADMIN.\n${stderr}`,
    );
  }
  events = [];
  clock = new FakeClock('2026-11-23T10:00:00+09:00');
});

afterEach(() => {
  // Lazily: a test that failed may have left a database open on it.
  spawnSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true });
});

const guarding = () => new DiskGuard({ folder: disk, clock, report: (event) => void events.push(event), limits });

/** Puts a file of so many bytes there, or takes it away again. */
function fill(bytes: number, name = 'backlog'): void {
  rmSync(join(disk, name), { force: true });
  if (bytes > 0) writeFileSync(join(disk, name), Buffer.alloc(bytes, 1));
}

const told = () => events.map(({ name }) => name);

describe('the disk guard', () => {
  it('goes from ok over low to full and back, and tells each change once', async () => {
    const guard = guarding();
    expect(await guard.check()).toBe('ok');
    fill(11.5 * MiB);
    expect([await guard.check(), await guard.check()]).toEqual(['low', 'low']);
    fill(14.5 * MiB);
    expect([await guard.check(), await guard.check()]).toEqual(['full', 'full']);
    fill(0);
    expect([await guard.check(), await guard.check()]).toEqual(['ok', 'ok']);
    expect(told()).toEqual(['disk.low', 'disk.full', 'disk.recovered']);
    expect(events[1]).toMatchObject({ code: 'BUFFER_FULL', numbers: { freeBytes: expect.any(Number) } });
  });

  it('does not flap at the edge', async () => {
    const guard = guarding();
    await guard.check();
    // Free: a little below the threshold of 2 MiB, then a little above it, in turns.
    for (let turn = 0; turn < 5; turn++) {
      fill(14.05 * MiB);
      expect(await guard.check()).toBe('full');
      fill(13.95 * MiB);
      expect(await guard.check()).toBe('full');
    }
    fill(13.5 * MiB);
    expect(await guard.check()).toBe('low');
    expect(told()).toEqual(['disk.full', 'disk.low']);
  });

  it('keeps a reserve of real blocks that nothing can compress away', async () => {
    const guard = guarding();
    await guard.check();
    const { size, blocks } = statSync(join(disk, 'reserve'));
    expect(size).toBe(limits.reserveBytes);
    expect(blocks * 512).toBeGreaterThanOrEqual(limits.reserveBytes);
    expect(gzipSync(readFileSync(join(disk, 'reserve'))).length).toBeGreaterThan(limits.reserveBytes * 0.99);
    expect(guard.status.hasReserve).toBe(true);
  });

  it('gives it back so that a full database can delete again, and rebuilds it when there is room', async () => {
    const guard = guarding();
    await guard.check();
    const table = 'CREATE TABLE a(id INTEGER PRIMARY KEY, b BLOB) STRICT';
    const db = openDatabase(join(disk, 'state.db'), [{ part: 'a', steps: [table] }]);
    // A checkpoint on a full disk needs as much room as the log is long, so the reserve is several times that: here 4 MiB
    // to 0.8, in a hospital 64 MiB to 8.
    db.pragma('wal_autocheckpoint = 100');
    const remove = db.prepare('DELETE FROM a WHERE id IN (SELECT id FROM a LIMIT 5)');
    const insert = db.prepare('INSERT INTO a(b) VALUES (zeroblob(100000))');
    const full = expect.objectContaining({ code: 'SQLITE_FULL' });
    expect(() => {
      for (;;) insert.run();
    }).toThrow(full);
    fillUp(disk);
    expect(() => remove.run()).toThrow(full);
    expect(await guard.check()).toBe('full');
    expect(guard.status.hasReserve).toBe(true);
    await guard.releaseReserve();
    expect(guard.status.hasReserve).toBe(false);
    expect(existsSync(join(disk, 'reserve'))).toBe(false);
    // In slices: what secure_delete zeroes goes through the write-ahead log, and must find room there.
    while (remove.run().changes > 0) db.pragma('wal_checkpoint(TRUNCATE)');
    db.pragma('incremental_vacuum');
    db.close();
    expect(statSync(join(disk, 'state.db')).size).toBeLessThan(MiB);
    expect(told()).toContain('disk.reserve-released');
    rmSync(join(disk, 'filler'), { force: true });
    await guard.check();
    expect(guard.status.hasReserve).toBe(true);
  });

  it('does not build the reserve where that would make the disk low, and leaves no half of it', async () => {
    fill(12.5 * MiB);
    const guard = guarding();
    expect(await guard.check()).toBe('ok');
    expect(guard.status.hasReserve).toBe(false);
    expect(existsSync(join(disk, 'reserve'))).toBe(false);
    await guard.releaseReserve();
    expect(told()).toEqual([]);
  });

  it('builds a reserve of another size again', async () => {
    fill(MiB, 'reserve');
    const guard = guarding();
    await guard.check();
    expect(statSync(join(disk, 'reserve')).size).toBe(limits.reserveBytes);
  });

  it('forecasts when it will be full, by the hours it was watched, and not from less than three', async () => {
    const guard = guarding();
    await guard.check();
    await guard.releaseReserve();
    fill(4 * MiB, 'reserve');
    await guard.check();
    for (let hour = 1; hour <= 5; hour++) {
      clock.freeze(hourMs);
      fill(hour * MiB);
      await guard.check();
      expect(guard.status.fullInMs === undefined).toBe(hour < 3);
    }
    // 20 MiB in all: 4 reserve, 5 used, 2 are the threshold; a MiB an hour, counted from before the reserve was there.
    expect((guard.status.fullInMs ?? 0) / hourMs).toBeGreaterThan(4);
    expect((guard.status.fullInMs ?? 0) / hourMs).toBeLessThan(10);
  });
});

/** Takes every block that is left. */
function fillUp(folder: string): void {
  spawnSync('dd', ['if=/dev/zero', `of=${join(folder, 'filler')}`, 'bs=4096', 'status=none']);
}
