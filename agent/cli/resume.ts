import { askAgent } from './ask.ts';
import { configOption, defineVerb } from './verb.ts';

export const verb = defineVerb({
  usage: '[SOURCE|PRODUCER] [--config FILE]',
  about:
    'Ends a pause, of one or of everything. After a restore it also says that the restored state is to be believed,\n' +
    'and after repeated crashes that the safe mode is over.',
  options: { config: configOption },
  positionals: { min: 0, max: 1 },
  run: async ({ config }, [name], context) => {
    const result = (await askAgent(config, 'resume', name === undefined ? {} : { name }, context)) as {
      resumed: string[];
    };
    context.terminal.result(result);
    context.terminal.say(`resumed: ${result.resumed.join(', ') || 'nothing is configured'}`);
    return 0;
  },
});
