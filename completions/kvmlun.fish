# fish completion for kvmlun, which knows itself what may follow (argcomplete's protocol).
function __kvmlun_complete
    set -lx _ARGCOMPLETE 1
    set -lx _ARGCOMPLETE_SHELL fish
    set -lx _ARGCOMPLETE_IFS \n
    set -lx _ARGCOMPLETE_DFS \t
    set -lx _ARGCOMPLETE_SUPPRESS_SPACE 1
    set -lx _ARGCOMPLETE_STDOUT_FILENAME /dev/stdout
    set -lx COMP_LINE (commandline -cp)
    set -lx COMP_POINT (string length -- $COMP_LINE)
    kvmlun 2>/dev/null
end
complete -c kvmlun -f -a '(__kvmlun_complete)'
