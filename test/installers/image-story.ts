/**
 * The Dockerfile, built by buildah and run by podman as compose.yaml asks, but for its ports and bounds of memory. The
 * image it begins with is the bootstrapped Debian, under the name that the Dockerfile gives it: no registry is asked.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { parse } from 'yaml';
import type { Status } from '../../agent/health/index.ts';
import { read, root } from '../source-files.ts';
import type { System } from './debian.ts';

export interface Engine {
  readonly system: System;
  /** Where images, containers and volumes are, below a folder that the test takes away. */
  readonly storage: readonly string[];
}

interface Service {
  readonly read_only: boolean;
  readonly init: boolean;
  readonly tmpfs: readonly string[];
  readonly cap_drop: readonly string[];
  readonly security_opt: readonly string[];
  readonly volumes: readonly string[];
}

const image = 'kakehashi';

/** Three of its own checks. */
const healthyWithinMs = 90_000;

export async function buildsFromTheArchiveAlone(
  { system, storage }: Engine,
  { base, tarball, work }: { base: string; tarball: string; work: string },
): Promise<void> {
  const context = join(work, 'context');
  mkdirSync(join(context, 'dist'), { recursive: true });
  const archive = join(work, 'debian.tar');
  execFileSync('tar', ['-C', base, '--one-file-system', '-cf', archive, '.']);
  const [, from = ''] = /^FROM (\S+)$/m.exec(read('Dockerfile')) ?? [];
  await system.ok('podman', ...storage, 'import', '--quiet', archive, from);
  for (const name of ['Dockerfile', '.dockerignore']) cpSync(join(root, name), join(context, name));
  cpSync(tarball, join(context, 'dist', basename(tarball)));
  // Docker's own format: the other one has no health check.
  const options = ['--pull-never', '--isolation', 'chroot', '--format', 'docker', '--tag', image];
  await system.ok('buildah', ...storage, 'build', ...options, context);
}

export async function runsAsComposeAsks(engine: Engine): Promise<void> {
  const init = ['init', '--facility', '1312345670', '--name', '架橋病院', '--yes'];
  await podman(engine, 'run', '--rm', ...runOptions(), image, ...init);
  await podman(engine, 'run', '--detach', '--name', 'running', ...runOptions(), image);
  await untilHealthy(engine);
  expect((await podman(engine, 'exec', 'running', 'id', '-u')).trim()).toBe('10001');
  const written = await engine.system.run(
    'podman',
    ...engine.storage,
    'exec',
    'running',
    'touch',
    '/opt/kakehashi/new',
  );
  expect(written).toMatchObject({ code: 1, stderr: expect.stringContaining('Read-only file system') });
  const status = JSON.parse(await podman(engine, 'exec', 'running', 'kakehashi', 'status', '--json')) as Status;
  expect(status.sources).toEqual([]);
}

export async function stopsInOrderAndLeavesItsVolumes(engine: Engine): Promise<void> {
  await podman(engine, 'stop', '--time', '15', 'running');
  const ended = await podman(
    engine,
    'inspect',
    '--format',
    '{{.State.ExitCode}} {{.HostConfig.ReadonlyRootfs}}',
    'running',
  );
  expect(ended.trim()).toBe('0 true');
  // What it kept is in the volumes: another container goes on with it.
  await podman(engine, 'rm', 'running');
  expect(await podman(engine, 'run', '--rm', ...runOptions(), image, 'ledger', 'verify')).toContain(
    'The ledger verifies',
  );
}

/** By the image's own check. Not by `kakehashi status`, which takes the lock where no agent has it yet. */
async function untilHealthy({ system, storage }: Engine): Promise<void> {
  const isHealthy = async () => (await system.run('podman', ...storage, 'healthcheck', 'run', 'running')).code === 0;
  for (const deadline = Date.now() + healthyWithinMs; !(await isHealthy()); await sleep(500)) {
    if (Date.now() > deadline) throw new Error(await podman({ system, storage }, 'logs', 'running'));
  }
}

function podman({ system, storage }: Engine, ...args: readonly string[]): Promise<string> {
  return system.ok('podman', ...storage, ...args);
}

/** From compose.yaml; and what a machine without systemd and with bounds of its own needs besides. */
function runOptions(): string[] {
  const { services } = parse(read('installers/docker/compose.yaml')) as { services: { kakehashi: Service } };
  const { read_only: isReadOnly, init, tmpfs, cap_drop: dropped, security_opt: security, volumes } = services.kakehashi;
  return [
    ...(isReadOnly ? ['--read-only'] : []),
    ...(init ? ['--init'] : []),
    ...tmpfs.flatMap((each) => ['--tmpfs', each]),
    ...dropped.flatMap((each) => ['--cap-drop', each]),
    ...security.flatMap((each) => ['--security-opt', each]),
    ...volumes.flatMap((each) => ['--volume', each]),
    '--ulimit=core=0',
    '--ulimit=nofile=1024:1024',
    '--ulimit=nproc=256:256',
    '--network=none',
    '--cgroups=disabled',
  ];
}
