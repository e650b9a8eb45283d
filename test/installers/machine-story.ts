/** The package on a Debian that boots systemd: a year of a hospital's server, step by step. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Status } from '../../agent/health/index.ts';
import { configFile, expectKept, heldBy, initialise, install } from './chroot-story.ts';
import type { System } from './debian.ts';

const service = 'kakehashi.service';
const port = 2575;

/** Half a minute instead of five, and no ten seconds between two starts: the same machinery, sooner. */
const sooner = '[Service]\nWatchdogSec=30s\nRestartSec=1s\n';

/** Longest wait for a service, a watchdog included, on a machine with other work. */
const patienceMs = 120_000;

export interface Upgrades {
  readonly newer: string;
  readonly refusing: string;
}

/** Beside the package: one and a higher version, and one that refuses to be installed over another. */
export function buildUpgrades(deb: string, tree: string): Upgrades {
  const out = dirname(deb);
  const version = '9.0.0';
  execFileSync('dpkg-deb', ['-R', deb, tree]);
  edit(join(tree, 'DEBIAN', 'control'), (text) => text.replace(/^Version: .*$/m, `Version: ${version}`));
  edit(join(tree, 'opt', 'kakehashi', 'package.json'), (text) =>
    text.replace(/"version": ".*?"/, `"version": "${version}"`),
  );
  const newer = `kakehashi_${version}_amd64.deb`;
  pack(tree, join(out, newer));
  rmSync(join(tree, 'opt'), { recursive: true });
  rmSync(join(tree, 'usr'), { recursive: true });
  edit(join(tree, 'DEBIAN', 'control'), (text) => text.replace(/^Version: .*$/m, 'Version: 9.1.0'));
  writeFileSync(join(tree, 'DEBIAN', 'preinst'), '#!/bin/sh\nexit 1\n');
  const refusing = 'kakehashi_9.1.0_amd64.deb';
  pack(tree, join(out, refusing));
  rmSync(tree, { recursive: true });
  return { newer, refusing };
}

function edit(path: string, change: (text: string) => string): void {
  writeFileSync(path, change(readFileSync(path, 'utf8')));
}

function pack(tree: string, file: string): void {
  execFileSync('dpkg-deb', ['--root-owner-group', '-Znone', '--build', tree, file], { stdio: 'ignore' });
}

export async function startsWhenInitialised(system: System, deb: string): Promise<void> {
  await install(system, deb);
  // Enabled, and not a failure although there is nothing to run yet.
  expect(await show(system, 'UnitFileState', 'ActiveState', 'ConditionResult')).toEqual(['enabled', 'inactive', 'no']);
  await initialise(system, { hl7: port, metrics: 9420 });
  await system.ok('systemctl', 'start', service);
  await untilServing(system);
  await send(system);
}

/** Whoever could only read the file would fail here: it is root's alone. */
export async function getsTheSiteKeyFromSystemd(system: System): Promise<void> {
  await system.ok('chown', 'root:root', '/etc/kakehashi/site.key');
  await system.ok('systemctl', 'restart', service);
  await untilServing(system);
  const credential = await system.ok('stat', '-c', '%a %U', `/run/credentials/${service}/site.key`);
  expect(credential).toBe('400 kakehashi\n');
  await system.ok('chown', 'kakehashi:kakehashi', '/etc/kakehashi/site.key');
}

/** As the kernel has it, not as the unit asks for it. */
export async function isConfined(system: System): Promise<void> {
  const [pid] = await show(system, 'MainPID');
  const facts = await system.ok('sh', '-c', `grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/${pid}/status`);
  expect(facts.replaceAll('\t', ' ').trim().split('\n')).toEqual([
    'CapEff: 0000000000000000',
    'CapBnd: 0000000000000000',
    'NoNewPrivs: 1',
    'Seccomp: 2',
  ]);
  const mounts = await system.ok(
    'sh',
    '-c',
    `awk '$5 == "/" || $5 == "/var/lib/kakehashi" { print $5, substr($6, 1, 2) }' /proc/${pid}/mountinfo`,
  );
  expect(mounts.trim().split('\n').toSorted()).toEqual(['/ ro', '/var/lib/kakehashi rw']);
}

/** A pipe nobody writes to, in the register folder: the housekeeping waits for ever, while everything else answers. */
export async function isStartedAgainWhenItHangs(system: System): Promise<void> {
  const dropIn = `/etc/systemd/system/${service}.d`;
  await system.ok(
    'sh',
    '-c',
    `mkdir ${dropIn}; printf "$1" > ${dropIn}/sooner.conf; systemctl daemon-reload`,
    'sh',
    sooner,
  );
  await system.ok('systemctl', 'restart', service);
  const before = await untilServing(system);
  const pipe = '/var/lib/kakehashi/register/hang.csv';
  await system.ok('sh', '-c', `mkfifo -m 0600 ${pipe}; chown kakehashi ${pipe}; touch -d '1 hour ago' ${pipe}`);
  await until('the watchdog', async () => (await show(system, 'NRestarts'))[0] !== '0');
  await system.ok('rm', pipe);
  await untilServing(system, before);
  expect(await system.ok('journalctl', '-u', service, '-o', 'cat')).toContain('Watchdog timeout (limit 30s)!');
  expect(await heldBy(system)).toBe(1);
}

export async function restsAfterRepeatedCrashes(system: System): Promise<void> {
  for (let killed = 0; killed < 5; killed++) {
    const before = await untilServing(system);
    await system.ok('systemctl', 'kill', '--signal=KILL', '--kill-whom=main', service);
    await untilServing(system, before);
  }
  expect((await status(system)).state).toBe('safe');
  expect(await system.run('kakehashi', 'status')).toMatchObject({ stdout: expect.stringContaining('SAFE MODE') });
  // No source listens, and systemd has not given up.
  expect((await system.run('kakehashi', 'send', '--adt', '1', '--to', `127.0.0.1:${port}`)).code).toBe(1);
  expect(await show(system, 'ActiveState')).toEqual(['active']);
  await system.ok('kakehashi', 'resume');
  await send(system);
  expect(await heldBy(system)).toBe(2);
}

export async function isUpgradedWhileItRuns(system: System, { newer, refusing }: Upgrades) {
  const config = await system.ok('cat', configFile);
  const before = await untilServing(system);
  await install(system, newer);
  await untilServing(system, before);
  expect((await status(system)).version).toBe('9.0.0');
  expect(await system.ok('cat', configFile)).toBe(config);
  expect(await heldBy(system)).toBe(2);
  // An upgrade that is given up leaves the old version running.
  expect((await system.run('dpkg', '-i', `/mnt/${refusing}`)).code).toBe(1);
  await untilServing(system);
  expect((await status(system)).version).toBe('9.0.0');
}

/** At a terminal, because debconf asks only there. */
export async function isRemovedAndAsksWhenPurged(system: System): Promise<void> {
  expect(await system.ok('dpkg', '--remove', 'kakehashi')).toContain('are kept');
  expect(await show(system, 'ActiveState')).toEqual(['inactive']);
  await expectKept(system);
  // Compiled code, which is nobody's data.
  await system.ok('test', '-d', '/var/cache/kakehashi');
  const purge = 'env DEBIAN_FRONTEND=readline dpkg --purge kakehashi';
  const asked = await system.ok('sh', '-c', `echo no | script --quiet --return --command '${purge}' /dev/null`);
  expect(asked).toContain('Delete the data, the configuration and the keys');
  await expectKept(system);
  await system.ok('test', '!', '-e', '/var/cache/kakehashi');
}

async function send(system: System): Promise<void> {
  await system.ok('kakehashi', 'send', '--adt', '0000012345', '--to', `127.0.0.1:${port}`);
}

async function status(system: System): Promise<Status> {
  return JSON.parse(await system.ok('kakehashi', 'status', '--json')) as Status;
}

async function show(system: System, ...properties: readonly string[]): Promise<string[]> {
  const values = await system.ok('systemctl', 'show', service, '--property', properties.join(','));
  const found = new Map(
    values
      .trim()
      .split('\n')
      .map((line) => line.split('=', 2) as [string, string]),
  );
  return properties.map((name) => found.get(name) ?? '');
}

/**
 * Until a process other than `before` serves, by its own word in the journal. `kakehashi status` cannot be asked: where
 * none runs yet it answers from the state itself.
 */
async function untilServing(system: System, before?: string): Promise<string> {
  let pid = '';
  await until('the service', async () => {
    [pid = ''] = await show(system, 'MainPID');
    if (pid === '0' || pid === before) return false;
    return (await system.ok('journalctl', `_PID=${pid}`, '-o', 'cat')).includes('"agent.started"');
  });
  return pid;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + patienceMs; !(await isSo()); await sleep(500)) {
    if (Date.now() > deadline) throw new Error(`${what}: nothing within ${patienceMs / 1000} s`);
  }
}
