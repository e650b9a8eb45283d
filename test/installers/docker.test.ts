/**
 * What is written in the Dockerfile and the compose file, and the health check's own code against a real server.
 * linux.test.ts builds the image and runs it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { defaultListen } from '../../agent/config/schema.ts';
import { read } from '../source-files.ts';

/** Instruction and argument, in order, continuation lines joined. */
const instructions = read('Dockerfile')
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll(/\\\n\s*/g, '')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => {
    const [, name = '', argument = ''] = /^([A-Z]+) +(.*)$/.exec(line) ?? [];
    return { name, argument };
  });

const argumentsOf = (name: string) => instructions.filter((each) => each.name === name).map(({ argument }) => argument);

describe('the image', () => {
  it('has only instructions that a builder knows', () => {
    const known = ['FROM', 'RUN', 'ADD', 'USER', 'VOLUME', 'HEALTHCHECK', 'STOPSIGNAL', 'ENTRYPOINT', 'CMD'];
    expect(instructions.filter(({ name }) => !known.includes(name))).toEqual([]);
    expect(instructions[0]).toEqual({ name: 'FROM', argument: 'debian:12-slim' });
  });

  it('takes nothing but the built archive from the checkout', () => {
    const added = argumentsOf('ADD').map((argument) => argument.split(' ')[0]);
    expect(added).toEqual(['dist/kakehashi-*-linux-x64.tar.gz']);
    const ignored = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(ignored).toEqual(['*', `!${added[0]}`]);
  });

  it('runs as a user who is not root, by number, as orchestrators check it', () => {
    expect(argumentsOf('USER')).toEqual(['10001:10001']);
    const after = instructions.slice(instructions.findIndex(({ name }) => name === 'USER'));
    expect(after.filter(({ name }) => name === 'RUN')).toEqual([]);
  });

  it('asks nothing of a network while it is built', () => {
    expect(argumentsOf('RUN').filter((command) => /apt|curl|wget|npm|https?:/.test(command))).toEqual([]);
  });

  it.each([
    ['healthy', 200, 0],
    ['not doing its work', 503, 1],
    ['something else on that port', 404, 1],
  ])('finds a connector that is %s out by its answer %i', async (_title, status, code) => {
    const asked: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url);
      response.writeHead(status).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      expect(await healthCheck((server.address() as AddressInfo).port)).toBe(code);
    } finally {
      server.close();
    }
    expect(asked).toEqual(['/healthz']);
  });

  it('takes a connector that does not answer for unhealthy', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    expect(await healthCheck(port)).toBe(1);
  });

  /** The exit code of the check's own script, with the runtime of the tests and the port of a test's server. */
  async function healthCheck(port: number): Promise<number | null> {
    const [, list = ''] = / CMD (\[.*\])$/.exec(argumentsOf('HEALTHCHECK')[0] ?? '') ?? [];
    const command = JSON.parse(list) as string[];
    const script = command.at(-1) ?? '';
    expect(script).toContain(defaultListen.metrics);
    const asked = script.replace(defaultListen.metrics, `127.0.0.1:${port}`);
    const child = spawn(process.execPath, ['-e', asked], { stdio: 'ignore' });
    const [code] = (await once(child, 'close')) as [number | null];
    return code;
  }
});

describe('the compose file', () => {
  interface Compose {
    readonly services: {
      readonly kakehashi: Readonly<Record<string, unknown>> & { readonly ports: readonly string[] };
    };
    readonly volumes: Readonly<Record<string, unknown>>;
  }
  const { services, volumes } = parse(read('installers/docker/compose.yaml')) as Compose;

  it('gives the container no more than it needs', () => {
    expect(services.kakehashi).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
      ulimits: { core: 0 },
      restart: 'always',
      stop_grace_period: '15s',
    });
    expect(services.kakehashi['mem_limit']).toBe(services.kakehashi['memswap_limit']);
    expect(services.kakehashi).not.toHaveProperty('privileged');
  });

  it('keeps what must outlive the container in the volumes that the image declares', () => {
    const mounted = (services.kakehashi['volumes'] as string[]).map((each) => each.split(':'));
    expect(mounted.map(([name = '']) => name)).toEqual(Object.keys(volumes));
    expect(mounted.map(([, path]) => path)).toEqual(JSON.parse(argumentsOf('VOLUME')[0] ?? '[]'));
  });

  it('opens no port to the network until somebody writes its address', () => {
    expect(services.kakehashi.ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });
});
