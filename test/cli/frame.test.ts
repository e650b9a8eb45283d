import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kakehashi } from './run-cli.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kakehashi-cli-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the command line', () => {
  it('lists its commands, for help and, as a failure, for nothing', async () => {
    const help = await kakehashi('help');
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toMatch(/^ {2}check +check the configuration/m);
    expect(await kakehashi('--help')).toEqual(help);
    expect(await kakehashi()).toEqual({ ...help, code: 2 });
  });

  it('shows the options of a command, both ways', async () => {
    const { code, stdout } = await kakehashi('check', '--help');
    expect(code).toBe(0);
    expect(stdout.split('\n')[0]).toBe('kakehashi check [--config FILE] [--live]');
    expect(stdout).toContain('--config FILE  the configuration (default /etc/kakehashi/connector.yaml)');
    expect((await kakehashi('help', 'check')).stdout).toBe(stdout);
  });

  it('answers an unknown command with the nearest one, in code, sentence, hint and Japanese', async () => {
    expect(await kakehashi('chekc')).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'USAGE  There is no command "chekc". Did you mean check?\n' +
        '       Hint: `kakehashi help` lists the commands, `kakehashi <command> --help` its options.\n' +
        '       コマンドの使い方が正しくありません。kakehashi help を見てください。\n',
    });
  });

  it.each([
    [['toString'], 'There is no command "toString".'],
    [['check', '--confg', 'x'], '--confg is not an option of it; did you mean --config?.'],
    [['check', '--config'], '--config needs a value, FILE.'],
    [['check', '--config', '--live'], '--config needs a value, FILE.'],
    [['check', '--live=yes'], '--live takes no value.'],
    [['check', 'extra'], '"extra" is one word too many.'],
    [['send', 'a.hl7'], '--to HOST:PORT is missing.'],
    [['send', '--to', '127.0.0.1:1'], 'Name files to send, or --adt PATIENTID, and not both.'],
    [['send', 'a.hl7', '--to', '127.0.0.1'], '--to 127.0.0.1 is not HOST:PORT.'],
    [['send', '--adt', '1', '--to', '127.0.0.1:1', '--count', '0'], '--count takes 1 to 1000000.'],
    [['send', '--adt', '1', '--to', '127.0.0.1:1', '--encoding', 'latin1'], '--encoding takes utf-8, iso-2022-jp'],
  ])('refuses %j with exit code 2', async (argv, problem) => {
    const { code, stdout, stderr } = await kakehashi(...argv);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(problem);
  });

  it('gives errors to programs as JSON, on stderr', async () => {
    const { code, stdout, stderr } = await kakehashi('check', '--json', '--config', join(folder, 'none.yaml'));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(JSON.parse(stderr)).toMatchObject({
      error: { code: 'CONFIG_UNREADABLE', class: 'permanent', details: { reason: 'ENOENT' } },
    });
  });

  it('knows its version', async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
      version: string;
    };
    expect((await kakehashi('version')).stdout).toBe(
      `kakehashi ${version} (node ${process.versions.node}, ${process.platform} ${process.arch})\n`,
    );
    expect(JSON.parse((await kakehashi('--version', '--json')).stdout)).toMatchObject({ version });
  });
});

describe('check', () => {
  it('shows every problem and exits with 2', async () => {
    const path = join(folder, 'connector.yaml');
    writeFileSync(path, 'facility: { code: "1312345670", name: 架橋病院 }\nstat: x\nkeys: { site: hunter2 }\n');
    const { code, stderr } = await kakehashi('check', '--config', path);
    expect(code).toBe(2);
    expect(stderr).toBe(
      `CONFIG_INVALID  ${path} has 3 problem(s):\n` +
        '                connector.yaml:1:1 state: is required: expected a path\n' +
        '                connector.yaml:2:1 stat: unknown key (nearest key: state)\n' +
        '                connector.yaml:3:15 keys.site: expected a reference, {file: PATH} or {credential: NAME}; a key is never written here, got (hidden)\n' +
        '                Hint: Correct the lines named; `kakehashi check --config FILE` shows them again. The running connector goes on with its old configuration.\n' +
        '                設定ファイルに誤りがあります。表示された行を直してください。\n',
    );
  });

  it('with --live says what is wrong, what to do and who does it, and exits with 1', async () => {
    const path = join(folder, 'connector.yaml');
    writeFileSync(
      path,
      'facility: { code: "1312345670", name: 架橋病院 }\nstate: state\nkeys: { site: { file: site.key } }\n',
    );
    expect((await kakehashi('check', '--config', path)).code).toBe(0);
    const { code, stdout } = await kakehashi('check', '--live', '--json', '--config', path);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).checks).toContainEqual(
      expect.objectContaining({
        check: 'site key',
        state: 'fail',
        who: 'hospital IT',
        todo: expect.stringContaining('0600'),
      }),
    );
    const shown = (await kakehashi('check', '--live', '--config', path)).stdout;
    expect(shown).toMatch(/^FAIL {2}state folder +.*ENOENT/m);
  });
});
