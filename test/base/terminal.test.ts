import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { displayWidth, errorText, formatTable, Terminal } from '../../agent/base/terminal.ts';
import { ConnectorError } from '../../agent/model/errors.ts';

function terminal(options: { json: boolean; isTTY?: boolean }) {
  const stdout = new PassThrough({ encoding: 'utf8' });
  const stderr = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY: options.isTTY ?? false });
  const read = () => ({ stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') });
  return { terminal: new Terminal({ stdout, stderr }, options), read };
}

describe('a terminal', () => {
  it('lines columns up by the width of their letters on the screen', () => {
    expect(displayWidth('架橋a')).toBe(5);
    expect(
      formatTable(
        ['name', 'n'],
        [
          ['架橋', '1'],
          ['ldi', '22'],
        ],
      ),
    ).toEqual(['name  n', '架橋  1', 'ldi   22']);
    expect(formatTable(['name'], [])).toEqual(['name']);
  });

  it('shows people no JSON and programs nothing else', () => {
    for (const json of [true, false]) {
      const { terminal: shown, read } = terminal({ json });
      shown.say('well');
      shown.table(['a'], [['b']]);
      shown.result({ ok: true });
      shown.progress('sending', { unit: 'messages', total: 1 }).update(1);
      expect(read().stdout).toBe(json ? '{"ok":true}\n' : 'well\na\nb\n');
    }
  });

  it('prints at most ten lines of progress where nobody watches, and a bar where somebody does', () => {
    const plain = terminal({ json: false });
    const lines = plain.terminal.progress('sending', { unit: 'messages' });
    for (let done = 1; done <= 5000; done++) lines.update(done, 5000);
    lines.stop();
    expect(plain.read().stderr.trim().split('\n')).toHaveLength(10);

    const watched = terminal({ json: false, isTTY: true });
    const bar = watched.terminal.progress('sending', { unit: 'messages', total: 4 });
    bar.update(2);
    bar.update(8, 8);
    bar.stop();
    bar.stop();
    expect(watched.read().stderr).toMatch(/sending #+.* 8\/8 messages/);
  });

  it('shows of an error its code, sentence, hint and the Japanese line, many lines indented', () => {
    const error = new ConnectorError('CONFIG_INVALID', {
      file: 'c.yaml',
      count: 1,
      problems: 'c.yaml:1:1 state: is required',
    });
    expect(errorText(error).split('\n').slice(0, 2)).toEqual([
      'CONFIG_INVALID  c.yaml has 1 problem(s):',
      '                c.yaml:1:1 state: is required',
    ]);
    expect(errorText(error)).toContain(error.ja);
    const { terminal: shown, read } = terminal({ json: true });
    shown.error(error);
    const { stdout, stderr } = read();
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'CONFIG_INVALID', hint: error.hint } });
  });
});
