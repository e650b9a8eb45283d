import { ConnectorError } from '../model/errors.ts';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: 'list | release ROW… [--patient ID] [--category C] | discard ROW…',
  about: `Records that could not be understood; they wait here, sealed, and go nowhere.

  list     by row number and reason
  release  to the gate, which judges them like any other; say whose they are where that could not be read
  discard  destroys them`,
  options: {
    config: configOption,
    patient: { type: 'string', value: 'ID', text: 'release: whose record it is' },
    category: { type: 'string', value: 'C', text: 'release: its legal item' },
  },
  positionals: { min: 1, max: 10_000 },
  run: async ({ config, patient, category }, [action, ...rows], context) => {
    const { terminal } = context;
    if (action === 'list') {
      const list = (await askAgent(config, 'quarantine.list', {}, context)) as Listed[];
      terminal.result(list);
      if (list.length === 0) terminal.say('Nothing is in quarantine.');
      else
        terminal.table(
          ['row', 'source', 'reason', 'bytes', 'since'],
          list.map(({ row, source, reason, bytes, at }) => [String(row), source, reason, String(bytes), at]),
        );
      return 0;
    }
    if ((action !== 'release' && action !== 'discard') || rows.length === 0) {
      throw new ConnectorError('USAGE', { problem: 'quarantine: expected `list`, `release ROW…` or `discard ROW…`.' });
    }
    const as =
      action === 'release'
        ? { ...(patient !== undefined && { patient }), ...(category !== undefined && { category }) }
        : {};
    const result = await askAgent(config, `quarantine.${action}`, { rows: rows.map(Number), ...as }, context);
    terminal.result(result);
    terminal.say(`${rows.length} record(s) ${action}d.`);
    return 0;
  },
});

interface Listed {
  row: number;
  source: string;
  reason: string;
  bytes: number;
  at: string;
}
