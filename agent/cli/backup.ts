import { resolve } from 'node:path';
import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '--to DIR [--config FILE]',
  about:
    'Copies the whole state into a new folder below DIR, while the connector runs. Everything in it is sealed; opening it\n' +
    'takes the site key, or the recovery key printed at `init`. Stops made later are brought to the newest backup too.',
  options: { config: configOption, to: { type: 'string', value: 'DIR', text: 'where', required: true } },
  positionals: { min: 0, max: 0 },
  run: async ({ config, to }, _positionals, context) => {
    const result = (await askAgent(config, 'backup', { to: resolve(to) }, context)) as {
      folder: string;
      files: number;
      bytes: number;
    };
    context.terminal.result(result);
    context.terminal.say(`${result.files} file(s), ${Math.ceil(result.bytes / 2 ** 20)} MiB: ${result.folder}`);
    return 0;
  },
});
